"""What a new token costs where eight workers share two cores."""

from pathlib import Path

from ..arena import Arena
from ..cases import NATIVE, NEW, NONE, case
from ..chains import Json
from ..context import Context
from ..markdown import table, us

TITLE = "Eight workers on two cores"

WORKERS = 8
GROUP = f"RS256, {NEW}"
CASES = [
    NONE,
    case("jwt-workers", "jwt", GROUP, "`jwt_authn`"),
    case("keyless-workers", "keyless", GROUP, "**keyless**"),
    case("keyless-native-workers", "keyless-native", GROUP, NATIVE),
]


def measure(context: Context) -> Json:
    """Measures the cases in turn."""
    with Arena(context.bench, context.mint) as arena:
        for each in CASES:
            print(f"workers: starting {each.name}", flush=True)
            arena.add(each, workers=WORKERS)
        arena.play(context.effort.less(), "workers")
        return {"cases": arena.results()}


def ratio(result: Json) -> float | None:
    """Returns what the dynamic module adds, to what `jwt_authn` adds."""
    added = {each["name"]: each.get("added") for each in result["cases"]}
    ours, theirs = added["keyless-native-workers"], added["jwt-workers"]
    return ours / theirs if ours and theirs else None


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    head = ["", "CPU added", "least to most", "to `jwt_authn`"]
    of = {each["name"]: each for each in result["cases"]}
    return INTRODUCTION + "\n" + table(head, (row(each, of["jwt-workers"]) for each in result["cases"][1:]))


def row(each: Json, jwt: Json) -> list[str]:
    """Returns a case's row, or why there is none."""
    if "added" not in each:
        return [each["title"], f"void: {each['void']}", "", ""]
    of_jwt = f"{each['added'] / jwt['added']:.2f} ×" if "added" in jwt else ""
    return [each["title"], f"**{us(each['added'])}**", f"{us(each['least'])} to {us(each['most'])}", of_jwt]


INTRODUCTION = f"""\
CPU added to a request in µs, RS256; each token is new. Envoy has {WORKERS} workers, and both cores, of which the load
generator uses one as well. What threads keep from each other shows here: locks, and what they share in the caches.
"""
