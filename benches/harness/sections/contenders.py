"""What each contender adds to a request that Envoy answers by itself."""

from pathlib import Path

from .. import plot
from ..arena import Arena, choose
from ..cases import CASES, WARM
from ..chains import Json
from ..context import Context
from ..markdown import ms, table, us

TITLE = "What a request costs"


def measure(context: Context) -> Json:
    """Measures all cases in turn."""
    cases = choose(CASES, lambda name: context.wants("contenders", name))
    with Arena(context.bench, context.mint) as arena:
        for case in cases:
            print(f"contenders: starting {case.name}", flush=True)
            arena.add(case)
        arena.play(context.effort, "contenders")
        return {"cases": arena.results()}


def render(result: Json, plots: Path) -> str:
    """Returns the table, group by group, and the plots."""
    cases = result["cases"]
    bars = [(f"{case['title']} · {short(case)}", case) for case in cases if "added" in case]
    plot.bars(plots / "added.svg", "CPU added to a request, µs", bars[1:])
    text = [INTRODUCTION, f"![CPU added to a request]({plots.name}/added.svg)\n"]
    rotation = curves(cases)
    if "keyless" in rotation:
        plot.lines(plots / "rotation.svg", "CPU added to a request, µs, RS256", rotation)
        text.append(f"![CPU added by tokens in rotation]({plots.name}/rotation.svg)\n")
    head = ["", "CPU added", "least to most", "of it Envoy", "whole", "requests/s", "p50", "p99"]
    head += ["busy", "to the floor"]
    floor = [case for case in cases if case["name"] == "floor" and "added" in case]
    for group in dict.fromkeys(case["group"] for case in cases):
        text.append(f"**{group[0].upper()}{group[1:]}**\n")
        shown = [case for case in cases if case["group"] == group]
        if group.endswith(WARM):
            shown = [*floor, *shown]
        text.append(table(head, (row(case, floor) for case in shown)))
    return "\n".join(text)


SHOWN = (
    *("noop", "jwt", "native", "authz-http", "authz-grpc", "keyless-cold", "keyless-native-cold"),
    *("jwt-cache", "native-cache", "authz-http-cache", "authz-grpc-cache", "keyless-warm", "keyless-native-warm"),
)
"""The cases of the picture in the documentation."""


def picture(result: Json, images: Path) -> None:
    """Draws the main cases for the documentation, for a light and for a dark page."""
    cases = {case["name"]: case for case in result["cases"] if "added" in case}
    rows = [(f"{cases[name]['title']} · {short(cases[name])}", cases[name]) for name in SHOWN if name in cases]
    for theme, ink in plot.THEMES.items():
        plot.bars(images / f"benchmarks-{theme}.svg", "CPU added to a request, µs", rows, ink)


def row(case: Json, floor: list[Json]) -> list[str]:
    """Returns a case's row, or why there is none."""
    if "added" not in case:
        return [case["title"], f"void: {case['void']}"] + [""] * 8
    is_warm = case["group"].endswith(WARM) or case["name"] in ("noop", "floor")
    ratio = f"{case['added'] / floor[0]['added']:.2f} ×" if floor and is_warm else ""
    return [
        case["title"],
        f"**{us(case['added'])}**",
        f"{us(case['least'])} to {us(case['most'])}",
        us(case["added"] - case["service"]),
        us(case["envoy"] + case["service"]),
        f"{case['rate']:,.0f}",
        ms(case["p50"]),
        ms(case["p99"]),
        f"{case['envoy_busy']:.0%}",
        ratio,
    ]


def short(case: Json) -> str:
    """Returns a group's name for a label."""
    return case["group"].replace("every token is new", "new").replace(", all remembered", "")


def curves(cases: list[Json]) -> dict[str, list[tuple[str, float]]]:
    """Returns the cost by the number of tokens in rotation, of those that remember tokens."""
    found = {case["name"]: case["added"] for case in cases if "added" in case}
    sizes = {"100": "", "2,000": "-2000", "100,000": "-100k"}
    wanted = {
        "keyless": {step: f"keyless{end or '-warm'}" for step, end in sizes.items()},
        "keyless as a dynamic module": {
            step: f"keyless-native{end or '-warm'}" for step, end in sizes.items()
        },
        "jwt_authn, its cache as shipped": {step: f"jwt-cache{end}" for step, end in sizes.items()},
        "jwt_authn, a cache of 4,096": {
            step: f"jwt-cache4096{end}" for step, end in sizes.items() if end
        },
    }
    return {
        label: [(step, found[name]) for step, name in names.items()]
        for label, names in wanted.items()
        if all(name in found for name in names.values())
    }


INTRODUCTION = """\
CPU of a request in µs: what the kernel charged to all threads of Envoy, and of the service for
`ext_authz`, divided by the requests. *Added* is the difference to "no filter" in the same round; the
column is the median of the rounds, the next their least and most. p50 and p99 in ms, with 16
connections that always have a request under way, so they are mostly queueing behind each other.
*Busy* is how much of the time Envoy kept its core at work; where it is below 100 %, it waited for the
load generator, or for the service. *The floor* is what keyless's calls for a remembered token cost alone.
"""
