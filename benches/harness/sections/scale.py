"""What more routes, issuers and keys cost."""

import base64
import secrets
from contextlib import ExitStack
from pathlib import Path

from ..arena import Arena
from ..cases import NONE, Case, case
from ..chains import Json, configuration, keyless
from ..context import Context
from ..markdown import table, us
from ..world import World

TITLE = "Many routes, issuers and keys"

SIZES = {
    "1 route, 1 issuer, few keys": (1, 1, 0),
    "10 routes": (10, 1, 0),
    "1,000 routes": (1000, 1, 0),
    "50 issuers": (1, 50, 0),
    "500 keys": (1, 1, 500),
}
"""Routes, issuers, and keys of the issuer."""


def routes(count: int) -> list[Json]:
    """Returns so many routes; the last one is the one that requests take."""
    last = configuration()["routes"][0]
    return [other(last, number) for number in range(count - 1)] + [last]


def other(route: Json, number: int) -> Json:
    """Returns a route beside another one, with a path as long."""
    path = route["match"]["path"].replace("/openai/", f"/team-{number}/")
    return {**route, "name": f"chat-{number}", "match": {**route["match"], "path": path}}


def issuers(count: int) -> list[Json]:
    """Returns so many issuers; the last one is the one of the tokens."""
    last = configuration()["issuers"][0]
    others = ({**last, "name": f"i{n}", "issuer": f"https://i{n}.example/"} for n in range(count - 1))
    return [*others, last]


def keys(jwks: Json, count: int) -> Json:
    """Returns a key set of this size; the real ones are the last."""
    found = jwks["keys"]
    return {"keys": [stranger(number) for number in range(count - len(found))] + found}


def stranger(number: int) -> Json:
    """Returns a key of nobody: its modulus is a random number."""
    modulus = bytearray(secrets.token_bytes(256))
    modulus[0] |= 0x80
    modulus[-1] |= 1
    text = base64.urlsafe_b64encode(modulus).rstrip(b"=").decode()
    return {"kty": "RSA", "use": "sig", "kid": f"stranger-{number:018}", "n": text, "e": "AQAB"}


def measure(context: Context) -> Json:
    """Measures keyless in each size, warm and cold."""
    with Arena(context.bench, context.mint) as arena, ExitStack() as stack:
        arena.add(NONE)
        for size, (route_count, issuer_count, key_count) in SIZES.items():
            world = World(keys(context.mint.jwks(), key_count))
            stack.callback(world.close)
            changes = {"routes": routes(route_count), "issuers": issuers(issuer_count)}
            filters = keyless(context.bench.files, **changes)
            for each in pair(size):
                print(f"scale: starting {each.name}", flush=True)
                arena.add(each, filters=filters, world=world)
        arena.play(context.effort, "scale")
        return {"cases": arena.results()}


def pair(size: str) -> list[Case]:
    """Returns the warm and the cold case of a size."""
    return [
        case(f"{size}, warm", "keyless", "warm", size, count=100),
        case(f"{size}, cold", "keyless", "cold", size),
    ]


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    found = {(case["group"], case["title"]): case for case in result["cases"]}
    rows = []
    for size in SIZES:
        row = [size]
        for kind in ("warm", "cold"):
            row += cells(found[(kind, size)], found[(kind, next(iter(SIZES)))])
        rows.append(row)
    head = ["", "warm: added", "least to most", "to one of each", "cold: added", "least to most"]
    return INTRODUCTION + "\n" + table([*head, "to one of each"], rows)


def cells(case: Json, base: Json) -> list[str]:
    """Returns what is said of one case, beside the smallest."""
    if "added" not in case or "added" not in base:
        return [f"void: {case['void'] or base['void']}", "", ""]
    ratio = case["added"] / base["added"]
    return [us(case["added"]), f"{us(case['least'])} to {us(case['most'])}", f"{ratio:.2f} ×"]


INTRODUCTION = """\
keyless, RS256, CPU added in µs. The route, the issuer and the key that count are the last in the
configuration and in the key set. Warm: 100 tokens; cold: every token is new.
"""
