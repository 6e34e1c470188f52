"""Which kind of machine a run had: the targets differ, since a crowded one makes memory dearer."""

from dataclasses import dataclass

from .markdown import table, us

QUIET, CROWDED = 21.0, 25.0
"""What a request without any filter costs at most on a quiet machine, and at least on a crowded one, in µs."""

FLOOR = {"none": "no filter, whole", "noop": "a wasm filter that does nothing", "floor": "the calls alone"}


@dataclass(frozen=True)
class Most:
    """The most that something may be, on either kind of machine."""

    quiet: float
    crowded: float | None

    def on(self, kind: str) -> float | None:
        """Returns the most on this kind of machine; nothing is expected between the two."""
        return {"quiet": self.quiet, "crowded": self.crowded}.get(kind)


def kind(found: dict) -> str:
    """Returns `quiet`, `crowded`, or an empty text where that cannot be told."""
    whole = costs(found).get("none")
    if whole is None or QUIET < whole < CROWDED:
        return ""
    return "quiet" if whole <= QUIET else "crowded"


def costs(found: dict) -> dict[str, float]:
    """Returns what a request costs without a filter, and what the two least filters add, in µs."""
    cases = found["sections"].get("contenders", {}).get("cases", [])
    cases = {case["name"]: case for case in cases if "envoy" in case}
    return {name: cases[name]["envoy" if name == "none" else "added"] for name in FLOOR if name in cases}


def render(found: dict) -> str:
    """Returns what the least costs here, and what follows from that."""
    rows = [(FLOOR[name], f"**{us(cost)}**") for name, cost in costs(found).items()]
    said = {
        "quiet": "This was a **quiet** machine, and its targets are those of one.",
        "crowded": "This was a **crowded** machine, or a slow one, and its targets are those of one.",
        "": "This run is between the two, so nothing that depends on it is checked.",
    }[kind(found)]
    emptied = EMPTIED if found["run"].get("evicted") else ""
    return "\n".join([INTRODUCTION, table(["CPU of a request, µs", ""], rows), said, emptied])


INTRODUCTION = f"""\
Neighbours that share a machine's caches make a request more expensive, most where it touches much memory; how fast a core
computes does not tell that, but the cost of a request without any filter does. The rule: up to {QUIET:.0f} µs the machine
is quiet, from {CROWDED:.0f} µs it is crowded. *The calls alone* are those that keyless makes for a remembered token, made by a
filter without an SDK that does nothing else (`floor/`): the floor of the technology.
"""

EMPTIED = """\
Between the requests of this run the caches of Envoy's core were emptied on purpose (`BENCH_EVICT=1`).
"""
