"""The program: measures what was asked for, and writes the report."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from . import machine, report, wrk
from .arena import Effort
from .chains import Files
from .context import Context
from .envoy import Bench
from .sections import SECTIONS
from .tokens import Mint
from .world import IDENTITY

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measures, unless the only argument is `report`, which writes the last figures down again."""
    # Ended politely, everything that was started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    work = target / "bench"
    results = work / "results.json"
    if sys.argv[1:] == ["report"]:
        found = json.loads(results.read_text())
    else:
        found = measure(target, work)
        file = work / "part.json" if found["run"]["only"] else results
        file.write_text(json.dumps(found, indent=1))
    # A part must not overwrite the whole.
    folder = work if found["run"]["only"] else ROOT
    written = report.write(found, folder, ROOT / "benches" / "notes.md")
    print(written.read_text() if found["run"]["only"] else f"written: {written}")


def measure(target: Path, work: Path) -> dict:
    """Runs the sections that were asked for, and returns all figures."""
    begun = time.time()
    context = prepare(target, work)
    bench, effort = context.bench, context.effort
    size = bench.files.keyless.stat().st_size
    run = {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": command(),
        "rounds": effort.rounds,
        "seconds": effort.seconds,
        "only": context.only,
        "evicted": wrk.EVICTED,
        "load_before": os.getloadavg()[0],
        "cores": vars(machine.CORES),
        "token_bytes": {alg: len(context.mint.first(alg)) for alg in ("RS256", "ES256")},
    }
    about = machine.description(bench.envoy, ROOT)
    about["module"] = f"{size:,} bytes"
    sections = {}
    names = [name for name, section in SECTIONS.items() if context.wants(name) or cases(context, name)]
    for name in names:
        print(f"== {name}, {time.time() - begun:.0f} s after the start", flush=True)
        sections[name] = SECTIONS[name].measure(context)
    run["took"] = time.time() - begun
    return {"run": run, "machine": about, "module": size, "sections": sections}


def cases(context: Context, name: str) -> bool:
    """Returns true if a case of the contenders was asked for by its name."""
    return name == "contenders" and bool(set(context.only) - set(SECTIONS))


def prepare(target: Path, work: Path) -> Context:
    """Finds what the Makefile has built, and mints the tokens."""
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("envoy-*"):
        shutil.rmtree(old)
    release = target / "release"
    mint = Mint(work / "tokens", release / "mint")
    (work / "identity").write_text(IDENTITY)
    ratelimit = Path(os.environ["FLEET"]) / "bin" / "service_cmd"
    files = Files(
        floor=target / "wasm32-wasip1" / "release" / "floor.wasm",
        dynamic=release / "libkeyless_dynamic_module.so",
        keyless=Path(os.environ["KEYLESS_WASM"]),
        noop=target / "wasm32-wasip1" / "release" / "noop.wasm",
        toll=target / "wasm32-wasip1" / "release" / "toll.wasm",
        authz=release / "authz",
        ratelimit=ratelimit if ratelimit.exists() and shutil.which("redis-server") else None,
        drip=release / "drip",
        evict=release / "evict",
        jwks=work / "tokens" / "jwks.json",
        identity=work / "identity",
    )
    effort = Effort(int(os.environ.get("BENCH_ROUNDS", 5)), float(os.environ.get("BENCH_SECONDS", 2)))
    only = tuple(filter(None, os.environ.get("BENCH_ONLY", "").split(",")))
    requests = int(os.environ.get("BENCH_REQUESTS", 1_000_000))
    return Context(Bench(Path(os.environ["ENVOY"]), work, files), mint, effort, only, requests)


def command() -> str:
    """Returns how somebody else would ask for the same."""
    names = ("BENCH_ROUNDS", "BENCH_SECONDS", "BENCH_ONLY", "BENCH_REQUESTS", "BENCH_EVICT")
    return " ".join(["make bench", *(f"{n}={os.environ[n]}" for n in names if os.environ.get(n))])
