"""The OpenAPI 3.1 document, made from the routes and from the types that validate their requests."""

import re
from typing import Any

import msgspec

from berth import __version__
from berth.web.models import Problem
from berth.web.routes import PREFIX, Route

_REFERENCE = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "The request is wrong.",
    "401": "There is no token, or none that is good.",
    "403": "This may not be done.",
    "404": "There is no such thing.",
    "405": "This can't be done to it.",
    "409": "This can't be done now.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "421": "The host's name is not the one that this listens on.",
    "429": "There were too many wrong tokens.",
    "500": "The system refused something.",
    "503": "There is no room for more, or the service is not there.",
}


def document(routes: tuple[Route, ...]) -> bytes:
    """Return the document as JSON."""
    types = [kind for route in routes for kind in (route.takes, route.gives) if kind is not None]
    types = list({id(kind): kind for kind in (*types, Problem)}.values())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Berth", "version": __version__},
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": components,
                "responses": {
                    f"Problem{status}": _answer(text, "application/problem+json", schema_of[id(Problem)])
                    for status, text in _PROBLEMS.items()
                },
            },
        }
    )


def _operation(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "responses": {
            str(route.status): _answer("Done.", "application/json", schema_of.get(id(route.gives), {}))
            if route.status != 204
            else {"description": "Done."},
            **{status: {"$ref": f"#/components/responses/Problem{status}"} for status in _PROBLEMS},
        },
    }
    parameters = [
        {"name": word, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for word in route.words
    ]
    parameters += [
        {"name": key, "in": "query", "schema": {"type": "string", "pattern": f"^{pattern}$"}}
        for key, pattern in route.query.items()
    ]
    if parameters:
        told["parameters"] = parameters
    if route.tokenless:
        told["security"] = []
    if route.takes is not None:
        content = {"application/json": {"schema": schema_of[id(route.takes)]}}
        told["requestBody"] = {"content": content, "required": _needs_body(route)}
    return told


def _needs_body(route: Route) -> bool:
    """Whether a request without a body, which counts as an empty object, is wrong."""
    try:
        msgspec.json.decode(b"{}", type=route.takes)
    except msgspec.ValidationError:
        return True
    return False


def _answer(text: str, kind: str, schema: Any) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}
