"""How much memory a worker takes, at start, with a full cache, and after many requests."""

from pathlib import Path

from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..markdown import mib, table
from ..probe import reach_all_workers
from ..tokens import COUNTS
from ..world import World
from ..wrk import Load, run

TITLE = "Memory"

MANY = 4
WANTED = {
    "none": "no filter",
    "noop": "a wasm filter that does nothing",
    "jwt+cache4096": "`jwt_authn` with a cache of 4,096",
    "keyless-native": "**keyless as a dynamic module**, which remembers 4,096 tokens a worker",
    "keyless": "**keyless**, which remembers 4,096 tokens",
}
FILL = 3
"""Seconds of 100,000 tokens in rotation; many more than are remembered."""


def measure(context: Context) -> Json:
    """Measures each chain, keyless last and longest."""
    world = World(context.mint.jwks())
    found = {name: watch(context, world, name) for name in WANTED}
    world.close()
    return {"chains": found}


def watch(context: Context, world: World, name: str) -> Json:
    """Returns the resident memory of one chain at several points, in bytes."""
    print(f"memory: {name}", flush=True)
    token = context.mint.first("RS256")
    with Envoy(context.bench, name, world, workers=MANY) as envoy:
        reach_all_workers(envoy, token)
        several = envoy.resident()
    with Envoy(context.bench, name, world) as envoy:
        reach_all_workers(envoy, token)
        at_start = envoy.resident()
        found: Json = {"start": at_start, "worker": (several - at_start) / (MANY - 1)}
        sent = rotate(context, envoy, 0, FILL)
        found |= {"full": envoy.resident(), "full_after": sent}
        if name == "keyless":
            while sent < context.requests_for_memory:
                sent += rotate(context, envoy, sent, 10)
                print(f"memory: {sent:,} requests, {mib(envoy.resident())} MiB", flush=True)
            found |= {"end": envoy.resident(), "requests": sent}
    return found


def rotate(context: Context, envoy: Envoy, first: int, seconds: float) -> int:
    """Sends tokens in rotation and returns how many were sent."""
    count = COUNTS["RS256"]
    load = Load(context.mint.file("RS256"), count, seconds, first=first % count)
    return run(envoy, load).requests


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for name, title in WANTED.items():
        chain = result["chains"][name]
        full = f"{mib(chain['full'])} (after {chain['full_after']:,})"
        end = f"{mib(chain['end'])} (after {chain['requests']:,})" if "end" in chain else ""
        rows.append((title, mib(chain["start"]), mib(chain["worker"]), full, end))
    head = ["resident, MiB", "process at start", "of it a further worker", "tokens rotated"]
    return INTRODUCTION + "\n" + table([*head, "many requests"], rows)


INTRODUCTION = f"""\
A whole Envoy with one worker. The second column is the difference between {MANY} workers and one, for each
further worker; each has answered a few requests. Then 100,000 tokens in rotation, so that any cache of tokens is full
and loses an entry for each new one.
"""
