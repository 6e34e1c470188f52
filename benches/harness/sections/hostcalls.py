"""Which of the host's functions the module calls for a request, and what those cost."""

import re
import time
from collections import Counter
from pathlib import Path

from ..arena import Arena
from ..cases import case
from ..chains import Json, wasm
from ..context import Context
from ..envoy import Envoy
from ..markdown import table
from ..probe import ask
from ..world import World

TITLE = "Calls to the host"

WANTED = {"cold": "for a new token", "warm": "for a remembered token"}
OUT, IN = "vm->host", "host->vm"

PRICED = (
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_increment_metric",
    "proxy_replace_header_map_value",
    "proxy_set_property",
)
TIMES = 20
"""How often the filter `toll` makes a call for each request."""


def measure(context: Context) -> Json:
    """Counts the calls, and prices them."""
    return {"calls": count(context), "prices": price(context)}


def count(context: Context) -> Json:
    """Counts the calls in Envoy's log at the level trace, for one request of each kind."""
    print("hostcalls: counting", flush=True)
    world = World(context.mint.jwks())
    trace = ("--component-log-level", "wasm:trace", "--file-flush-interval-msec", "50")
    found: Json = {}
    with Envoy(context.bench, "keyless", world, options=trace) as envoy:
        ask(envoy.port, context.mint.first("ES256"))
        for kind in WANTED:
            before = calls(envoy)
            status, _ = ask(envoy.port, context.mint.first("RS256"))
            if status != 200:
                raise SystemExit(f"the request for the host calls: {status}")
            found[kind] = dict(calls(envoy) - before)
    world.close()
    return found


def calls(envoy: Envoy) -> Counter[str]:
    """Returns how often each function was called so far, in either direction."""
    time.sleep(0.5)  # until the log is written
    log = envoy.log.read_text(errors="replace")
    lines = re.findall(rf"\[({IN}|{OUT})\] (?:env\.|wasi_snapshot_preview1\.)?(\w+)\(", log)
    return Counter(f"{way} {name}" for way, name in lines)


def price(context: Context) -> Json:
    """Returns what a call costs, in µs: a filter makes it many times, or not at all."""
    with Arena(context.bench, context.mint) as arena:
        for name in ("nothing", *PRICED):
            print(f"hostcalls: starting {name}", flush=True)
            filters = [wasm(context.bench.files.toll, f"{name} {TIMES}")]
            arena.add(case(name, "noop", "", name, count=100), filters=filters)
        arena.play(context.effort.less(), "hostcalls")
        costs = {result["name"]: result["envoy"] for result in arena.results()}
    return {name: (costs[name] - costs["nothing"]) / TIMES for name in PRICED}


def render(result: Json, _: Path) -> str:
    """Returns the tables."""
    found, prices = result["calls"], result["prices"]
    names = sorted({name for kind in WANTED for name in found[kind]})
    rows = []
    for name in (name.split()[1] for name in names if name.startswith(OUT)):
        numbers = [str(found[kind].get(f"{OUT} {name}", 0)) for kind in WANTED]
        cost = f"{prices[name]:.2f}" if name in prices else ""
        rows.append((f"`{name}`", *numbers, cost))
    totals = [sum(n for name, n in found[kind].items() if name.startswith(OUT)) for kind in WANTED]
    rows.append(("all", *(f"**{total}**" for total in totals), f"{bill(result):.1f}"))
    inward = [sum(n for name, n in found[kind].items() if name.startswith(IN)) for kind in WANTED]
    ends = f"Envoy itself calls the module {inward[0]} and {inward[1]} times.\n"
    head = ["the module calls", *WANTED.values(), "one costs, µs"]
    return "\n".join([INTRODUCTION, table(head, rows), ends])


def bill(result: Json) -> float:
    """Returns what the calls for a remembered token cost together, in µs, as far as priced."""
    warm = result["calls"]["warm"]
    return sum(cost * warm.get(f"{OUT} {name}", 0) for name, cost in result["prices"].items())


INTRODUCTION = f"""\
For one admitted request, from Envoy's own trace. The price is what a filter pays that makes this call {TIMES} times for each
request, in the way keyless makes it; the last price is that of all calls for a remembered token.
"""
