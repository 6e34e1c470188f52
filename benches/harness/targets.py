"""The targets that keyless has set itself, against the figures of the same run."""

from collections.abc import Iterator

from .judge import Most, kind
from .markdown import mib, table, us
from .sections import scale, start, stream, upstream, workers

Row = tuple[str, str, str, str]

RATIOS = [
    ("warm, to the native stack with its cache", "keyless-warm", "native-cache", Most(2.2, 2.2)),
    ("warm, to the calls alone", "keyless-warm", "floor", Most(1.6, 2.0)),
    ("cold RS256, to `jwt_authn`", "keyless-cold", "jwt", Most(0.95, 1.25)),
    ("2,000 tokens, to `jwt_authn` as shipped", "keyless-2000", "jwt-cache-2000", Most(0.25, None)),
    ("100,000 tokens, to keyless with new ones", "keyless-100k", "keyless-cold", Most(1.05, 1.05)),
    ("the dynamic module, warm, to the native stack with its cache", "keyless-native-warm", "native-cache", Most(1.0, 1.0)),
    ("the dynamic module, cold RS256, to `jwt_authn`", "keyless-native-cold", "jwt", Most(0.7, 0.7)),
    ("the dynamic module, cold ES256, to `jwt_authn`", "keyless-native-cold-es256", "jwt-es256", Most(0.7, 0.7)),
]
"""Added CPU of one case over added CPU of another, and the most that this may be."""

SAME = 1.05
"""What may be called no difference of latencies."""
SIZE = 1.03
"""The most that many routes, issuers or keys may cost, to one of each."""
LIMITS = 1.5
"""The most that three limits may add to a request, in µs."""
FRAME = 0.2
"""The most that a frame may cost more than with a filter that does nothing, in µs."""
NATIVE_FRAME = 0.5
"""The most that a frame may cost more with the dynamic module than without any filter, in µs."""
COUNTED_ANSWER, COUNTED_FRAME = 1.5, 1.0
"""The most that counting may add to a request with a plain answer, and to a frame beside a filter that does nothing, in µs."""
WORKERS = 0.75
"""The most that the dynamic module may add with eight workers, to what `jwt_authn` does."""
MODULE = 950_000
VERDICTS = 32 * 2**20
"""`token_cache.max_bytes` as shipped."""
FIRST = 1.0


def render(found: dict) -> str:
    """Returns the table of targets."""
    sections = found["sections"]
    rows = [*ratios(sections, kind(found)), *limits(sections), *frames(sections), *latency(sections), *sizes(sections)]
    size = found["module"]
    rows.append(("module", f"≤ {MODULE:,} bytes", f"{size:,} bytes", reach(size <= MODULE)))
    rows += [*memory(sections), *first_request(sections), *first_byte(sections), *eight(sections)]
    head = ["target", "expected", "found", "reached"]
    return INTRODUCTION + "\n" + table(head, rows).replace("---:", "---")


def ratios(sections: dict, machine: str) -> Iterator[Row]:
    """Yields the ratios of added CPU, held against what this kind of machine can reach."""
    cases = by_name(sections)
    for title, ours, theirs, most in RATIOS:
        limit = most.on(machine)
        wanted = "not checked here" if limit is None else f"≤ {limit:.2f} ×"
        one, other = cases.get(ours, {}), cases.get(theirs, {})
        if "added" not in one or "added" not in other:
            yield unknown(title, wanted)
            continue
        ratio = one["added"] / other["added"]
        parts = f"{us(one['added'])} µs to {us(other['added'])} µs"
        reached = "?" if limit is None else reach(ratio <= limit)
        yield title, wanted, f"**{ratio:.2f} ×** ({parts})", reached


def limits(sections: dict) -> Iterator[Row]:
    """Yields what three limits add to a request of a remembered token."""
    title, wanted = "three limits", f"≤ a route without + {LIMITS} µs"
    cases = by_name(sections)
    ours, other = cases.get("keyless-limits", {}), cases.get("keyless-warm", {})
    if "added" not in ours or "added" not in other:
        yield unknown(title, wanted)
        return
    found = f"{us(ours['added'])} µs to {us(other['added'])} µs"
    yield title, wanted, found, reach(ours["added"] - other["added"] <= LIMITS)


def frames(sections: dict) -> Iterator[Row]:
    """Yields what frames and answers that are counted cost, and frames that are not."""
    nothing, plain = "a wasm filter that does nothing", "a route that does not count"
    rows = [
        ("a frame of a stream", nothing, FRAME, ("frames", "keyless-warm", "noop")),
        ("the dynamic module, a frame", "no filter", NATIVE_FRAME, ("frames", "keyless-native-warm", "none")),
        ("a frame that is counted", nothing, COUNTED_FRAME, ("frames", "keyless-ask", "noop")),
        ("a plain answer that is counted", plain, COUNTED_ANSWER, ("cases", "keyless-read", "keyless-warm")),
    ]
    for title, beside, most, names in rows:
        wanted = f"≤ {beside} + {most} µs"
        found = upstream.both(sections.get("upstream", {}), *names)
        if not found:
            yield unknown(title, wanted)
            continue
        ours, other = found
        yield title, wanted, f"{ours:.2f} µs to {other:.2f} µs", reach(ours - other <= most)


def eight(sections: dict) -> Iterator[Row]:
    """Yields what the dynamic module adds to a new token where eight workers share two cores."""
    title, wanted = "eight workers, the dynamic module to `jwt_authn`", f"≤ {WORKERS:.2f} ×"
    ratio = workers.ratio(sections["workers"]) if "workers" in sections else None
    if ratio is None:
        yield unknown(title, wanted)
        return
    yield title, wanted, f"**{ratio:.2f} ×**", reach(ratio <= WORKERS)


def latency(sections: dict) -> Iterator[Row]:
    """Yields the comparison of p99 with ext_authz."""
    cases = by_name(sections)
    for ours, theirs in (("keyless-cold", "authz-http"), ("keyless-cold", "authz-grpc")):
        title = f"p99 cold RS256, to `ext_authz`, {theirs.removeprefix('authz-')}"
        one, other = cases.get(ours, {}), cases.get(theirs, {})
        if "p99" not in one or "p99" not in other:
            yield unknown(title, "not more")
            continue
        parts = f"{one['p99'] / 1000:.2f} ms to {other['p99'] / 1000:.2f} ms"
        yield title, "not more", parts, reach(one["p99"] <= other["p99"] * SAME)


def sizes(sections: dict) -> Iterator[Row]:
    """Yields what many routes, issuers and keys cost beside one of each."""
    smallest, *others = scale.SIZES
    cases = sections.get("scale", {}).get("cases", [])
    found = {(case["group"], case["title"]): case for case in cases if "added" in case}
    for size in others[1:]:
        for tokens in ("warm", "cold"):
            title, wanted = f"{size}, {tokens}", f"≤ {SIZE:.2f} ×"
            one, base = found.get((tokens, size)), found.get((tokens, smallest))
            if not one or not base:
                yield unknown(title, wanted)
                continue
            ratio, whole = one["added"] / base["added"], one["envoy"] / base["envoy"]
            parts = f"**{ratio:.2f} ×** of what is added, {whole:.2f} × of the whole request"
            yield title, wanted, parts, reach(ratio <= SIZE)


def memory(sections: dict) -> Iterator[Row]:
    """Yields what 100,000 tokens in rotation leave in memory."""
    title, wanted = "memory for 100,000 tokens in rotation", f"≤ {mib(VERDICTS)} MiB, the configured bound"
    if "memory" not in sections:
        yield unknown(title, wanted)
        return
    chain = sections["memory"]["chains"]["keyless"]
    grown = chain["end"] - chain["start"]
    parts = f"{mib(grown)} MiB after {chain['requests']:,} requests"
    yield title, wanted, parts, reach(grown <= VERDICTS)


def first_request(sections: dict) -> Iterator[Row]:
    """Yields how long the first caller waits."""
    title, wanted = "first admitted request after the listener opens", f"≤ {FIRST:.0f} s"
    if "start" not in sections:
        yield unknown(title, wanted)
        return
    worst = max(start.first(sections["start"]))
    yield title, wanted, f"{worst:.2f} s at worst", reach(worst <= FIRST)


def first_byte(sections: dict) -> Iterator[Row]:
    """Yields how much later a streamed answer begins."""
    wanted, found = "no later, beyond noise", sections.get("stream")
    for title, chain in (("first streamed byte", "keyless"), ("first byte of a stream that is counted", "keyless+ask")):
        later = stream.added(found, chain) if found else None
        if later is None:
            yield unknown(title, wanted)
            continue
        noise = stream.noise(found)
        parts = f"{later:+.0f} µs, where half of all differ by {noise:.0f} µs"
        yield title, wanted, parts, reach(later <= noise)


def by_name(sections: dict) -> dict[str, dict]:
    """Returns the contenders' cases."""
    return {case["name"]: case for case in sections.get("contenders", {}).get("cases", [])}


def unknown(title: str, wanted: str) -> Row:
    """Returns the row of what was not measured in this run."""
    return title, wanted, "not measured", "?"


def reach(reached: bool) -> str:
    """Returns the verdict."""
    return "yes" if reached else "**no**"


INTRODUCTION = """\
Ratios are of *added* CPU, medians of this run; what is expected is what this kind of machine can reach.
"""
