"""One run of the load generator against one Envoy, and what it cost."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .chains import PATH
from .envoy import Envoy
from .machine import CORES, busy

EVICTED = bool(os.environ.get("BENCH_EVICT"))
"""Whether the caches of Envoy's core are emptied between requests."""

CONNECTIONS = 2 if EVICTED else 16
SCRIPT = Path(__file__).with_name("load.lua")


class Void(Exception):
    """A run that proves nothing: somebody was refused, or the work was not done."""


@dataclass(frozen=True)
class Load:
    """What to send, for how long."""

    tokens: Path
    count: int
    seconds: float
    first: int = 0
    method: str = "GET"
    change_to: Path | None = None
    change_after: int = 0
    each_is_new: bool = False
    frame: int = 0
    """The bytes of a frame on the wire, if the frames of answers are counted, not the requests."""


@dataclass(frozen=True)
class Sample:
    """What one run cost. Times for a request, or for a frame, in µs."""

    requests: int
    rate: float
    envoy: float
    service: float
    p50: int
    p99: int
    slowest: int
    envoy_busy: float
    """The part of the time that Envoy kept its core busy."""
    others_busy: float
    """The part of the time that others, or the hypervisor, kept it from Envoy."""

    def record(self) -> dict[str, float]:
        """Returns it for the file of results."""
        return asdict(self)


def run(envoy: Envoy, load: Load) -> Sample:
    """Runs the load once. Raises `Void` unless every request was admitted with 200 and every
    witness of the chain saw every request."""
    counters = envoy.counters()
    others, (worked, stolen) = envoy.rival_time(), busy(CORES.envoy)
    spent, begun = envoy.cpu_time(), time.monotonic()
    with eviction(envoy):
        text = wrk(envoy.port, load)
    spent, elapsed = envoy.cpu_time() - spent, time.monotonic() - begun
    others = envoy.rival_time() - others
    worked_now, stolen_now = busy(CORES.envoy)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    lasted = re.search(r"requests in ([\d.]+)(ms|s|m),", text)
    if not found or not lasted:
        raise Void(f"wrk said: {text}")
    requests, refused, broken, p50, p99, slowest = (int(number) for number in found.groups())
    seconds = float(lasted[1]) * {"ms": 0.001, "s": 1, "m": 60}[lasted[2]]
    if refused or broken or not requests:
        raise Void(f"of {requests} requests {refused} were refused, {broken} broke")
    if load.each_is_new and requests + CONNECTIONS >= load.count:
        raise Void(f"{requests} requests, but only {load.count} tokens: some were not new")
    judge(envoy, counters, requests)
    count = frames(envoy, counters, load.frame) if load.frame else requests
    kept = max(0.0, worked_now - worked - spent / 1e9) + stolen_now - stolen
    return Sample(
        requests=requests,
        rate=requests / seconds,
        envoy=spent / count / 1000,
        service=others / requests / 1000,
        p50=p50,
        p99=p99,
        slowest=slowest,
        envoy_busy=min(1.0, spent / 1e9 / seconds),
        others_busy=0.0 if EVICTED else kept / elapsed,
    )


def frames(envoy: Envoy, before: dict[str, int], size: int) -> float:
    """Returns how many frames of this size the backend has sent, those of unfinished answers too."""
    name = "cluster.backend.upstream_cx_rx_bytes_total"
    return (envoy.counters()[name] - before.get(name, 0)) / size


@contextmanager
def eviction(envoy: Envoy) -> Iterator[None]:
    """Has a program walk through memory on Envoy's core whenever Envoy waits, if that was asked for."""
    if not EVICTED:
        yield
        return
    idle = ["taskset", "-c", str(CORES.envoy), "chrt", "--idle", "0"]
    with subprocess.Popen([*idle, envoy.bench.files.evict]) as walker:
        try:
            yield
        finally:
            walker.kill()


def wrk(port: int, load: Load) -> str:
    """Returns what wrk prints."""
    command = ["taskset", "-c", str(CORES.load), "wrk", "-t1", f"-c{CONNECTIONS}", "--latency"]
    # wrk counts whole seconds.
    command += [f"-d{max(1, round(load.seconds))}s", "-s", SCRIPT]
    command += [f"http://127.0.0.1:{port}{PATH}", "--"]
    command += [load.tokens, load.first, load.count, load.method, int(EVICTED)]
    command += ["true" if load.frame else "false"]
    if load.change_to:
        command += [load.change_to, load.change_after]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def judge(envoy: Envoy, before: dict[str, int], requests: int) -> None:
    """Raises `Void` unless Envoy answered nothing but 200 and each witness counted each request."""
    now = envoy.counters()
    grown = {name: value - before.get(name, 0) for name, value in now.items()}
    for status in ("1xx", "3xx", "4xx", "5xx"):
        if grown.get(f"http.bench.downstream_rq_{status}", 0):
            raise Void(f"{grown[f'http.bench.downstream_rq_{status}']} answers were {status}")
    for witness in (r"http\.bench\.downstream_rq_2xx", *envoy.chain.witnesses):
        seen = sum(count for name, count in grown.items() if re.fullmatch(witness, name))
        if seen < requests:
            raise Void(f"{witness} counted {seen} of {requests} requests")
