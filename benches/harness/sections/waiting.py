"""What requests feel while keys roll over, and while the identity token is replaced."""

from pathlib import Path

from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..markdown import ms, table
from ..probe import check
from ..world import World
from ..wrk import Load, Sample, run

TITLE = "While something is fetched"

REPEATS = 3
SECONDS = 3
DELAY = 0.05
KINDS = {
    "quiet": "nothing happens",
    "identity": "the identity token is replaced each second",
    "rollover": "the issuer signs with a new key, half-way",
}


def measure(context: Context) -> Json:
    """Measures each kind several times, each time in a fresh Envoy."""
    found: Json = {kind: [] for kind in KINDS}
    for turn in range(REPEATS):
        print(f"waiting: round {turn + 1} of {REPEATS}", flush=True)
        for kind in KINDS:
            found[kind].append(once(context, kind))
    return {"kinds": found}


def once(context: Context, kind: str) -> Json:
    """Returns the sample of one run, and how often the other side was asked in it."""
    mint = context.mint
    world = World(mint.jwks(), delay=DELAY, refresh_in=1 if kind == "identity" else 43_200)
    with Envoy(context.bench, "keyless", world) as envoy:
        check(envoy, mint, "RS256")
        warm = run(envoy, Load(mint.file("RS256"), 100, 1))
        world.calls.clear()
        changes: Json = {}
        if kind == "rollover":
            world.jwks = mint.jwks("next.jwks")
            changes = {"change_to": mint.file("next"), "change_after": half(warm)}
        sample = run(envoy, Load(mint.file("RS256"), 100, SECONDS, **changes))
    world.close()
    expected = {"quiet": 0, "identity": 2, "rollover": 1}[kind]
    if sum(world.calls.values()) < expected:
        raise SystemExit(f"{kind}: only {dict(world.calls)} calls, so nothing was seen")
    return {**sample.record(), "calls": dict(world.calls)}


def half(warm: Sample) -> int:
    """Returns after how many requests the run will be about half over."""
    return round(warm.rate * SECONDS / 2)


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for kind, title in KINDS.items():
        runs = result["kinds"][kind]
        row = [title]
        for field in ("p50", "p99", "slowest"):
            row.append(" · ".join(ms(each[field]) for each in runs))
        calls = " · ".join(str(sum(each["calls"].values())) for each in runs)
        rows.append([*row, calls])
    return INTRODUCTION + "\n" + table(["", "p50, ms", "p99, ms", "slowest, ms", "calls"], rows)


INTRODUCTION = f"""\
keyless with 16 connections that always have a request under way, for {SECONDS} s; {REPEATS} runs. Keys and identity token
are answered after {DELAY * 1000:.0f} ms. Every request was admitted: those with the new key wait for it, all others go on.
"""
