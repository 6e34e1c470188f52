"""Which of the host's functions the module calls for a request."""

import re
import time
from collections import Counter
from pathlib import Path

from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..markdown import table
from ..probe import ask
from ..world import World

TITLE = "Calls to the host"

WANTED = {"cold": "a new token", "warm": "a remembered token"}


def measure(context: Context) -> Json:
    """Counts them in Envoy's log at the level trace, for one request of each kind."""
    print("hostcalls: two requests", flush=True)
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
    return {"calls": found}


def calls(envoy: Envoy) -> Counter[str]:
    """Returns how often each function was called so far, in either direction."""
    lines = re.findall(r"\[(host->vm|vm->host)\] (?:env\.|wasi_snapshot_preview1\.)?(\w+)\(", log(envoy))
    return Counter(f"{way} {name}" for way, name in lines)


def log(envoy: Envoy) -> str:
    """Returns Envoy's log, once it was written down."""
    time.sleep(0.5)
    return envoy.log.read_text(errors="replace")


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    found = result["calls"]
    names = sorted({name for kind in WANTED for name in found[kind]})
    text = [INTRODUCTION]
    for way, title in (("vm->host", "the module calls"), ("host->vm", "Envoy calls")):
        rows = [
            (f"`{name.split()[1]}`", *(str(found[kind].get(name, 0)) for kind in WANTED))
            for name in names
            if name.startswith(way)
        ]
        sums = (sum(n for name, n in found[kind].items() if name.startswith(way)) for kind in WANTED)
        rows.append(("all", *(f"**{total}**" for total in sums)))
        text.append(table([title, *WANTED.values()], rows))
    return "\n".join(text)


INTRODUCTION = "One admitted request, from Envoy's own trace of the calls in both directions.\n"
