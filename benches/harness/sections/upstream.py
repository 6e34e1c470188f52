"""Real requests: POSTs that a backend answers, in one piece or as a stream."""

from pathlib import Path

from ..arena import Arena
from ..cases import CASES, COUNTING, LIMITING, Case
from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..machine import CORES
from ..markdown import table, us
from .stream import dripping

TITLE = "With a backend"

WANTED = ("none", "noop", "floor", "jwt-cache", "native-cache", "keyless-native-warm", "keyless-warm")

SAID = '"usage":{"prompt_tokens":400,"completion_tokens":180,"total_tokens":580}'
ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"' + "word " * 180 + '"}}],' + SAID + "}"

FRAMES, PAUSE, FRAME = 300, 1, 215 + 6
"""The frames of a streamed answer, the ms between them, and the bytes of each with its chunk's head."""


def measure(context: Context) -> Json:
    """Measures the warm cases with a backend on the load generator's core."""
    found: Json = {}
    bench, mint = context.bench, context.mint
    with (
        Arena(bench, mint, "POST") as arena,
        Envoy(bench, "none", arena.world, cores=(CORES.load,), body=ANSWER) as backend,
    ):
        limiting = LIMITING if bench.files.ratelimit else LIMITING[:1]
        found["cases"] = play(context, arena, backend.port, "upstream", limiting)
    with Arena(bench, mint, "POST", FRAME) as arena, dripping(bench, FRAMES, PAUSE) as port:
        found["frames"] = play(context, arena, port, "frames", [])
    return found


def play(context: Context, arena: Arena, backend: int, label: str, more: list[Case]) -> list[Json]:
    """Measures all cases with one backend."""
    for case in [*(case for case in CASES if case.name in WANTED), *COUNTING, *more]:
        print(f"{label}: starting {case.name}", flush=True)
        arena.add(case, backend=backend)
    arena.play(context.effort, label)
    return arena.results()


def render(result: Json, _: Path) -> str:
    """Returns the tables."""
    parts = [INTRODUCTION, rows(result["cases"], "CPU added to a request, µs"), STREAMED]
    return "\n".join([*parts, rows(result["frames"], "CPU added to a frame, µs")])


def rows(cases: list[Json], added: str) -> str:
    """Returns one table, with what each adds beside what the calls alone do."""
    floor = next((case.get("added") for case in cases if case["name"] == "floor"), None)
    lines = []
    for case in cases:
        if "added" not in case:
            lines.append((case["title"], f"void: {case['void']}", "", "", ""))
            continue
        extremes = f"{us(case['least'])} to {us(case['most'])}"
        ratio = f"{case['added'] / floor:.2f} ×" if floor and case["name"] != "none" else ""
        lines.append((case["title"], f"**{us(case['added'])}**", extremes, ratio, us(case["envoy"] + case["service"])))
    return table(["", added, "least to most", "to the calls alone", "whole"], lines)


def both(result: Json, table: str, case: str, other: str) -> tuple[float, float] | None:
    """Returns what two cases add to a request (`cases`) or to a frame (`frames`), in µs."""
    added = {each["name"]: each.get("added") for each in result.get(table, [])}
    one, two = added.get(case), added.get(other)
    return None if one is None or two is None else (one, two)


INTRODUCTION = """\
100 tokens, all remembered, as above, but a POST with a body of 2 kB that Envoy passes on to a backend on
loopback, which answers in one piece of 1 kB: another Envoy, on the load generator's core. What a filter leaves
in the request now has to be sent: the identity token, for those that set it. Routes with `usage` read what
the answer says of its tokens and count it; those that ask also read the request, and it goes on in chunks.
What Envoy's rate-limit filter adds has the CPU of the service and of Redis in it: each request waits for one call.
"""

STREAMED = f"""\
The same request, answered by a stream of {FRAMES} frames of {FRAME} bytes, a millisecond or two apart; 16 at a time. This is what
a *frame* costs, the request's share included. The backend always says at the end what was used; where it was asked by
keyless and not by the caller, that frame is taken out.
"""
