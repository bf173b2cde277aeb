"""The API's routes about who may use it."""

from berth.errors import BerthError
from berth.service import published
from berth.web import audit as audits
from berth.web.access import Access
from berth.web.models import Audit, NewToken, Proof, TokenEntry, Tokens
from berth.web.routes import Call, HttpError
from berth.web.streams import end_streams


def tokens(call: Call) -> Tokens:
    """All tokens."""
    return Tokens(
        tuple(
            TokenEntry(
                id=token.id,
                name=token.name,
                uid=token.uid,
                created_at=token.created_at,
                used_at=token.used_at,
                current=token.id == call.caller.token,
            )
            for token in Access(call.home).tokens()
        )
    )


def create(call: Call) -> NewToken:
    """Make a token for the caller's uid."""
    port = _own_port(call) if call.body.page else None
    token, secret = Access(call.home).add(call.body.name, call.caller.uid, port)
    return NewToken(secret, token.id, token.name)


def _own_port(call: Call) -> int:
    found = published.read(call.home)
    if found is None:
        raise BerthError('the dashboard is not served now; start it with "berth serve --background"')
    return found.port


def revoke(call: Call) -> None:
    """Make a token worthless, and end what it still streams."""
    Access(call.home).revoke(call.words["id"])
    end_streams(call.home, call.words["id"])


def pair(call: Call) -> NewToken:
    """Give a token for a ticket."""
    made = Access(call.home).redeem(call.body.ticket, call.caller.uid, _own_port(call))
    if made is None:
        raise HttpError(403, 'this link was used before or is too old; open the dashboard again by "berth dashboard"')
    token, secret = made
    return NewToken(secret, token.id, token.name)


def prove(call: Call) -> Proof:
    """Show to a page that this is the service which gave it its token, before it sends the token again."""
    host = f"127.0.0.1:{_own_port(call)}"
    proof = Access(call.home).prove(call.body.id, call.body.nonce, host, call.caller.uid)
    if proof is None:
        raise HttpError(401, 'this token is not good any more; open the dashboard again by "berth dashboard"')
    return Proof(proof)


def audit(call: Call) -> Audit:
    """What was done lately."""
    return Audit(audits.latest(call.home))
