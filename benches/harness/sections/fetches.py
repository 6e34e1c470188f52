"""How often keys and identity token are asked for, by the number of workers."""

import time
from contextlib import ExitStack
from pathlib import Path

from ..chains import Json, configuration, keyless
from ..context import Context
from ..envoy import Envoy
from ..markdown import table
from ..probe import CONNECTIONS, reach_all_workers
from ..world import World

TITLE = "Calls to the issuer and to IMDS"

WORKERS = (1, 2, 4, 8)
PERIOD = 2
"""Seconds for which keys and identity token are good here."""
WATCHED = 24
SETTLE = 3
HOURS = {"jwks": 1, "imds": 12}
"""How long they are good in production: `refresh` as shipped, and Azure's `refresh_in` of a token that
lives for a day."""


def measure(context: Context) -> Json:
    """Watches one Envoy of each size at the same time."""
    issuer = configuration()["issuers"][0]
    issuer["jwks"]["refresh"] = f"{PERIOD}s"
    filters = keyless(context.bench.files, issuers=[issuer])
    token = context.mint.first("RS256")
    with ExitStack() as stack:
        worlds, first = {}, {}
        for workers in WORKERS:
            world = worlds[workers] = World(context.mint.jwks(), refresh_in=PERIOD)
            stack.callback(world.close)
            envoy = Envoy(context.bench, "keyless", world, filters=filters, workers=workers)
            stack.enter_context(envoy)
            reach_all_workers(envoy, token)
            first[workers] = dict(world.calls)
        time.sleep(SETTLE)
        before = {workers: dict(world.calls) for workers, world in worlds.items()}
        print(f"fetches: watching {len(WORKERS)} Envoys for {WATCHED} s", flush=True)
        time.sleep(WATCHED)
        after = {workers: dict(world.calls) for workers, world in worlds.items()}
    kinds = tuple(HOURS)
    seen = {n: {k: after[n][k] - before[n][k] for k in kinds} for n in WORKERS}
    return {"first": first, "seen": seen}


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for workers in WORKERS:
        row = [str(workers)]
        for kind, hours in HOURS.items():
            # JSON knows only texts as keys.
            seen = {int(n): calls for n, calls in result["seen"].items()}[workers][kind]
            first = {int(n): calls for n, calls in result["first"].items()}[workers][kind]
            hourly = seen / (WATCHED / PERIOD) / hours
            row += [str(first), str(seen), f"{hourly:.2f}"]
        rows.append(row)
    head = ["workers", "keys: at start", f"in {WATCHED} s", "so in an hour"]
    head += ["identity: at start", f"in {WATCHED} s", "so in an hour"]
    return INTRODUCTION + "\n" + table(head, rows)


INTRODUCTION = f"""\
Counted at the other side, while keys and identity token are good for {PERIOD} s only, and scaled to what they are
good for in production: {HOURS["jwks"]} h (`refresh` as shipped) and {HOURS["imds"]} h (`refresh_in` of Azure's tokens, which live for a
day). "At start" is while the first {CONNECTIONS} requests are answered, each on a connection of its own
(on a slow machine that includes a first refresh).
"""
