"""How much later the first byte of a streamed answer comes."""

import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..chains import PATH, Json
from ..context import Context
from ..envoy import Bench, Envoy, free_port, wait_for_port
from ..machine import CORES
from ..markdown import table
from ..world import World

TITLE = "Streamed answers"

REPEATS = 400
EVENTS = 10
BODY = '{"stream":true}'
WANTED = {
    "none": "no filter",
    "noop": "a wasm filter that does nothing",
    "jwt+cache": "`jwt_authn` with its cache",
    "keyless": "**keyless**",
    "keyless-native": "**keyless as a dynamic module**",
    "keyless+ask": '**keyless**, `"usage": "ask"`',
}


def measure(context: Context) -> Json:
    """Asks through each chain in turns, with a backend that streams its answers."""
    world = World(context.mint.jwks())
    with ExitStack() as stack:
        port = stack.enter_context(dripping(context.bench, EVENTS, pause=20))
        envoys = {
            name: stack.enter_context(Envoy(context.bench, name, world, backend=port))
            for name in WANTED
        }
        request = message(context.mint.first("RS256"))
        times: dict[str, list[float]] = {name: [] for name in WANTED}
        for turn in range(REPEATS + 20):
            if turn % 100 == 0:
                print(f"stream: round {turn} of {REPEATS}", flush=True)
            for name, envoy in envoys.items():
                taken = first_event(envoy.port, request)
                if turn >= 20:
                    times[name].append(taken)
        gaps = {name: whole_answer(envoy.port, request) for name, envoy in envoys.items()}
    world.close()
    return {"times": times, "gaps": gaps}


@contextmanager
def dripping(bench: Bench, events: int, pause: int) -> Iterator[int]:
    """Runs a backend whose answers have so many events, so many ms apart; gives its port."""
    port = free_port()
    command = ["taskset", "-c", str(CORES.service), bench.files.drip, port, events, pause]
    with subprocess.Popen([str(part) for part in command]) as drip:
        try:
            wait_for_port(port, drip)
            yield port
        finally:
            drip.kill()


def message(token: str) -> bytes:
    """Returns the request."""
    lines = [f"POST {PATH} HTTP/1.1", "host: bench", f"authorization: Bearer {token}"]
    lines += ["content-type: application/json", f"content-length: {len(BODY)}"]
    return "\r\n".join([*lines, "", BODY]).encode()


def first_event(port: int, request: bytes) -> float:
    """Returns the time from the request to the first event, in s; the connection is open already."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        connection.sendall(request)
        received = b""
        while b"data:" not in received:
            part = connection.recv(65_536)
            if not part:
                raise SystemExit(f"no streamed answer: {received[:200]!r}")
            received += part
        return time.perf_counter() - begun


def whole_answer(port: int, request: bytes) -> float:
    """Returns the time from the first event to the last, in s: 0 would mean that it was held back."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        received, begun = b"", 0.0
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65_536)
            if not begun and b"data:" in received:
                begun = time.perf_counter()
        return time.perf_counter() - begun


def added(result: Json, chain: str) -> float | None:
    """Returns by how much the median of a chain is later than without a filter, in µs."""
    medians = {name: statistics.median(times) for name, times in result["times"].items()}
    return (medians[chain] - medians["none"]) * 1e6 if chain in medians else None


def noise(result: Json) -> float:
    """Returns half the distance between the quartiles without a filter, in µs."""
    low, _, high = statistics.quantiles(result["times"]["none"], n=4)
    return (high - low) / 2 * 1e6


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    rows = []
    for name, title in WANTED.items():
        if name not in result["times"]:
            continue  # of an older run
        low, middle, high = (q * 1e6 for q in statistics.quantiles(result["times"][name], n=4))
        gap = f"{result['gaps'][name] * 1000:.0f}"
        rows.append((title, f"{middle:.0f}", f"{low:.0f} to {high:.0f}", gap))
    head = ["", "to the first event, µs", "quartiles", "first to last event, ms"]
    return INTRODUCTION + "\n" + table(head, rows)


INTRODUCTION = f"""\
A backend that sends the first event at once and nine more, 20 ms apart. {REPEATS} requests through each, in
turns, one at a time, each on a connection of its own; warm. Nothing is held back: the last event comes
180 ms after the first, as the backend sends it.
"""
