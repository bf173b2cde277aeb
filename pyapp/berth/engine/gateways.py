"""Which containers can be the router of others."""

from berth.errors import BerthError, MissingError
from berth.home import Home
from berth.spec import JOINED, Spec
from berth.store import load_spec


def refuse_useless_gateway(home: Home, spec: Spec) -> None:
    """Raise BerthError where the gateway that `spec` names, if any, could never be one, or leads back to itself."""
    seen = [spec.name]
    while spec.net == "gateway" and spec.gateway is not None:
        try:
            router = load_spec(home, spec.gateway)
        except MissingError as error:
            raise BerthError(f"container {spec.name}: --gateway: {error}") from error
        if router.net not in JOINED:
            raise BerthError(
                f"container {spec.name}: --gateway {router.name} has --net={router.net}, so it has no way out "
                "to share; give that one --net=nat"
            )
        if router.name in seen:
            ring = " -> ".join((*seen, router.name))
            raise BerthError(f"container {seen[0]}: its gateways lead in a ring ({ring}); one must have --net=nat")
        seen.append(router.name)
        spec = router
