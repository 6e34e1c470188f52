"""Which of the host's functions the module calls for a request, and what those cost."""

import base64
import re
import time
from collections import Counter
from pathlib import Path

from ..arena import Arena
from ..cases import NONE, case
from ..chains import Json, wasm
from ..context import Context
from ..envoy import Envoy
from ..markdown import table, us
from ..probe import ask, forged
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
STEPS = (
    ("does nothing", "nothing 0"),
    ("reads the headers", "proxy_get_header_map_pairs 1"),
    ("has the host verify the token", "verify_signature 1 {key}"),
    ("sets the identity token", "proxy_replace_header_map_value 1"),
    ("reads the clock, counts", "proxy_get_current_time_nanoseconds 1\nproxy_increment_metric 1"),
    ("writes filter state", "proxy_set_property 7"),
    ("reads the answer's status", "proxy_get_header_map_value 1"),
)
"""The calls that keyless makes for a new token, each step with those before it."""

COMPARED = {"jwt": "`jwt_authn`, which does all it does", "keyless": "**keyless**, which does all it does"}

TIMES = 20
"""How often the filter `toll` makes a call for each request."""


def measure(context: Context) -> Json:
    """Counts the calls, prices them, and measures what they cost where nothing else is done."""
    return {"calls": count(context), "prices": price(context), "alone": alone(context)}


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


def alone(context: Context) -> list[Json]:
    """Measures a filter that makes the calls of a new token once each, and `jwt_authn` beside it."""
    key = base64.b64encode(spki(context.mint.jwks()["keys"][0])).decode()
    with Arena(context.bench, context.mint) as arena:
        arena.add(NONE)
        calls = ""
        for title, line in STEPS:
            print(f"hostcalls: starting {title}", flush=True)
            calls += line.format(key=key) + "\n"
            filters = [wasm(context.bench.files.toll, calls)]
            arena.add(case(title, "noop", "", title), filters=filters)
            status, _ = ask(arena.seats[-1].envoy.port, forged(context.mint.first("RS256")))
            assert status == (401 if key in calls else 200), f"{title}, a forged token: {status}"
        for chain in ("jwt", "keyless"):
            arena.add(case(chain, chain, "", COMPARED[chain]))
        arena.play(context.effort, "hostcalls")
        return arena.results()


def spki(jwk: Json) -> bytes:
    """Returns an RSA key as X.509 has it (RFC 8017, appendix A.1.1, in RFC 5280's wrapping)."""
    numbers = (base64.urlsafe_b64decode(jwk[name] + "==") for name in ("n", "e"))
    key = der(0x30, b"".join(der(2, b"\0" * (number[0] >> 7) + number) for number in numbers))
    rsa_encryption = bytes.fromhex("300d06092a864886f70d0101010500")
    return der(0x30, rsa_encryption + der(3, b"\0" + key))


def der(tag: int, content: bytes) -> bytes:
    """Returns a value in DER, of less than 64 KiB."""
    size = len(content)
    long = size.to_bytes(2, "big").lstrip(b"\0")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(long)]) + long
    return bytes([tag]) + length + content


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
    return "\n".join([INTRODUCTION, table(head, rows), ends, ALONE, steps(result["alone"])])


def steps(cases: list[Json]) -> str:
    """Returns the table of the filter that only makes the calls."""
    alone = next((one.get("added") for one in cases if one["title"] == STEPS[-1][0]), None)
    rows = []
    for one in cases:
        if "added" not in one:
            rows.append((one["title"], f"void: {one['void']}", "", ""))
            continue
        ratio = f"{one['added'] / alone:.2f} ×" if alone and one["name"] in COMPARED else ""
        extremes = f"{us(one['least'])} to {us(one['most'])}"
        rows.append((one["title"], f"**{us(one['added'])}**", extremes, ratio))
    return table(["a filter that", "CPU added, µs", "least to most", "to the calls alone"], rows)


def bill(result: Json) -> float:
    """Returns what the calls for a remembered token cost together, in µs, as far as priced."""
    warm = result["calls"]["warm"]
    return sum(cost * warm.get(f"{OUT} {name}", 0) for name, cost in result["prices"].items())


INTRODUCTION = f"""\
For one admitted request, from Envoy's own trace. The price is what a filter pays that makes this call {TIMES} times for each
request, in the way keyless makes it; the last price is that of all calls for a remembered token.
"""

ALONE = """\
And all of them where nothing else is done: a filter (`toll/`) that makes the calls of a new token once each, verifying it
for good, and neither parses nor decides anything. Each row does what those above it do, too. As long as keyless makes
these calls, the last of these rows is about the least that it can cost; `jwt_authn` is of the same turns.
"""
