"""The same for POSTs that go on to a backend."""

from pathlib import Path

from ..arena import Arena
from ..cases import CASES
from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..machine import CORES
from ..markdown import table, us

TITLE = "With a backend"

WANTED = ("none", "noop", "jwt-cache", "native-cache", "keyless-warm")


def measure(context: Context) -> Json:
    """Measures the warm cases with another Envoy as the backend, on the load generator's core."""
    with (
        Arena(context.bench, context.mint, method="POST") as arena,
        Envoy(context.bench, "none", arena.world, core=CORES.load) as backend,
    ):
        for case in CASES:
            if case.name in WANTED:
                print(f"upstream: starting {case.name}", flush=True)
                arena.add(case, backend=backend.port)
        arena.play(context.effort.less(), "upstream")
        return {"cases": arena.results()}


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for case in result["cases"]:
        if "added" not in case:
            rows.append((case["title"], f"void: {case['void']}", "", ""))
            continue
        extremes = f"{us(case['least'])} to {us(case['most'])}"
        rows.append((case["title"], f"**{us(case['added'])}**", extremes, us(case["envoy"])))
    return INTRODUCTION + "\n" + table(["", "CPU added, µs", "least to most", "whole"], rows)


INTRODUCTION = """\
100 tokens, all remembered, as above, but a POST with a body of 0.9 kB that Envoy passes on to a backend on
loopback: another Envoy, on the load generator's core. What a filter leaves in the request now has to
be sent: the identity token, for those that set it.
"""
