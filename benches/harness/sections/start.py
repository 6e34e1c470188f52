"""How long it takes until the first request is admitted."""

import http.client
import socket
import statistics
import time
from pathlib import Path

from ..chains import PATH, Json
from ..context import Context
from ..envoy import Envoy
from ..markdown import table
from ..world import World

TITLE = "Start"

REPEATS = 5
DELAY = 0.05
WANTED = {
    "none": "no filter",
    "noop": "a wasm filter that does nothing",
    "keyless": "**keyless**",
    "keyless-native": "**keyless as a dynamic module**",
}


def measure(context: Context) -> Json:
    """Starts Envoy several times with each chain, in turns."""
    found: Json = {name: [] for name in WANTED}
    for turn in range(REPEATS):
        print(f"start: round {turn + 1} of {REPEATS}", flush=True)
        for name in WANTED:
            found[name].append(once(context, name))
    return {"times": found}


def once(context: Context, name: str) -> Json:
    """Returns when the listener was open, and how much later the first answer was there, in s."""
    world = World(context.mint.jwks(), delay=DELAY)
    token = context.mint.first("RS256")
    begun = time.monotonic()
    with Envoy(context.bench, name, world, wait=False) as envoy:
        connect(envoy.port)
        open_at = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=30)
        connection.request("GET", PATH, headers={"authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        answered = time.monotonic()
    world.close()
    if status != 200:
        raise SystemExit(f"{name} answered {status} to the first request")
    return {"open": open_at - begun, "first": answered - open_at}


def connect(port: int) -> None:
    """Waits until the listener is open."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.001)
    raise SystemExit("Envoy does not listen")


def first(result: Json) -> list[float]:
    """Returns keyless's times from the open listener to the first admission, in s."""
    return [each["first"] for each in result["times"]["keyless"]]


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for name, title in WANTED.items():
        row = [title]
        for kind in ("open", "first"):
            times = [each[kind] * 1000 for each in result["times"][name]]
            row.append(f"{statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f})")
        rows.append(row)
    head = ["", "process started to listener open, ms", "listener open to first 200, ms"]
    return INTRODUCTION + "\n" + table(head, rows)


INTRODUCTION = f"""\
{REPEATS} starts of each, in turns, on one core; median, least and most. Keys and identity token are answered after
{DELAY * 1000:.0f} ms each. What the module adds to the first column is its compilation, which Envoy does before it
listens; the second is what the first caller waits.
"""
