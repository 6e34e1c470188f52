"""Whose code the time is spent in, by samples of `perf`, if that is installed."""

import re
import shutil
import subprocess
from pathlib import Path

from ..chains import Json
from ..context import Context
from ..envoy import Envoy
from ..markdown import table, us
from ..probe import check
from ..tokens import COUNTS
from ..world import World
from ..wrk import Load, run

TITLE = "Whose code"

SECONDS = 4
WANTED = {
    "no filter": ("none", 100),
    "a wasm filter that does nothing": ("noop", 100),
    "`jwt_authn` with its cache, warm": ("jwt+cache", 100),
    "keyless without its RBAC guard, warm": ("keyless-unguarded", 100),
    "**keyless**, warm": ("keyless", 100),
    "`jwt_authn`": ("jwt", COUNTS["RS256"]),
    "**keyless**, cold": ("keyless", COUNTS["RS256"]),
}
OWNERS = ("kernel", "Envoy", "module")


def measure(context: Context) -> Json:
    """Samples each contender once."""
    if not shutil.which("perf"):
        print("profile: left out, there is no perf", flush=True)
        return {}
    world = World(context.mint.jwks())
    found = {}
    for title, (chain, count) in WANTED.items():
        print(f"profile: {title}", flush=True)
        with Envoy(context.bench, chain, world) as envoy:
            check(envoy, context.mint, "RS256")
            run(envoy, Load(context.mint.file("RS256"), count, 1))
            found[title] = sample(context, envoy, count)
    world.close()
    return found


def sample(context: Context, envoy: Envoy, count: int) -> Json:
    """Returns the CPU of a request in µs, by the owner of the code."""
    data = context.bench.work / "perf.data"
    what = ["-e", "cpu-clock", "-F", "1999", "-p", str(envoy.process.pid), "-o", data]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    perf = subprocess.Popen(["perf", "record", *what, "--", "sleep", str(SECONDS - 1)], **quiet)
    cost = run(envoy, Load(context.mint.file("RS256"), count, SECONDS)).envoy
    perf.wait()
    command = ["perf", "report", "-i", data, "--sort", "dso", "--stdio", "-q"]
    report = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    shares = dict.fromkeys(OWNERS, 0.0)
    for share, where in re.findall(r"^\s*([\d.]+)%\s+(\S+)", report, re.MULTILINE):
        shares[owner(where)] += float(share)
    return {"whole": cost} | {name: cost * share / 100 for name, share in shares.items()}


def owner(where: str) -> str:
    """Returns whose code lies there; what V8 has compiled lies in no file."""
    if where.startswith("[JIT]"):
        return "module"
    return "kernel" if where.startswith("[kernel") else "Envoy"


def render(result: Json, _: Path) -> str:
    """Returns the table."""
    if not result:
        return "Left out of this run: `perf` is not installed.\n"
    rows = [
        (title, us(found["whole"]), *(us(found[name]) for name in OWNERS))
        for title, found in result.items()
    ]
    head = ["CPU of a request, µs", "whole", "kernel", "Envoy's own code", "the module's code"]
    return INTRODUCTION + "\n" + table(head, rows)


INTRODUCTION = """\
By samples of `perf`, one run each, so only roughly. Envoy's own code includes what it does for the module:
crossing the border, copying headers, verifying signatures, counting.
"""
