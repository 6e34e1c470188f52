"""The targets that keyless has set itself, against the figures of the same run."""

from collections.abc import Iterator

from .markdown import mib, table, us
from .sections import scale, start, stream

Row = tuple[str, str, str, str]

RATIOS = [
    ("warm, to `jwt_authn` with its cache", "keyless-warm", "jwt-cache", 1.00),
    ("warm, to the native stack with its cache", "keyless-warm", "native-cache", 0.80),
    ("2,000 tokens, to `jwt_authn` with its cache", "keyless-2000", "jwt-cache-2000", 0.25),
    ("100,000 tokens, to keyless with new ones", "keyless-100k", "keyless-cold", 1.00),
    ("cold RS256, to `jwt_authn`", "keyless-cold", "jwt", 0.80),
    ("cold ES256, to `jwt_authn`", "keyless-cold-es256", "jwt-es256", 0.85),
    *(
        (f"{what}, to `ext_authz`, {protocol}{which}", ours, f"authz-{protocol.lower()}{suffix}", 0.20)
        for what, ours, which, suffix in (
            ("warm", "keyless-warm", " without a cache", ""),
            ("warm", "keyless-warm", " with a cache", "-cache"),
            ("cold RS256", "keyless-cold", "", ""),
        )
        for protocol in ("HTTP", "gRPC")
    ),
]
"""Added CPU of one case over added CPU of another, and the most that this may be."""

SAME = 1.05
"""What may be called no difference."""
MODULE = 700_000
VERDICTS = 32 * 2**20
"""`token_cache.max_bytes` as shipped."""
FIRST = 1.0


def render(found: dict) -> str:
    """Returns the table of targets."""
    sections = found["sections"]
    rows = [*ratios(sections), *latency(sections), *sizes(sections)]
    size = found["module"]
    rows.append(("module", f"≤ {MODULE:,} bytes", f"{size:,} bytes", reach(size <= MODULE)))
    rows += [*memory(sections), *first_request(sections), *first_byte(sections)]
    head = ["target", "expected", "found", "reached"]
    return INTRODUCTION + "\n" + table(head, rows).replace("---:", "---")


def ratios(sections: dict) -> Iterator[Row]:
    """Yields the ratios of added CPU."""
    cases = by_name(sections)
    for title, ours, theirs, most in RATIOS:
        one, other = cases.get(ours, {}), cases.get(theirs, {})
        if "added" not in one or "added" not in other:
            yield unknown(title, f"≤ {most:.2f} ×")
            continue
        ratio = one["added"] / other["added"]
        parts = f"{us(one['added'])} µs to {us(other['added'])} µs"
        reached = reach(ratio <= (SAME if ours == "keyless-100k" else most))
        yield title, f"≤ {most:.2f} ×", f"**{ratio:.2f} ×** ({parts})", reached


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
        for kind in ("warm", "cold"):
            title, wanted = f"{size}, {kind}", f"≤ {SAME:.2f} ×"
            one, base = found.get((kind, size)), found.get((kind, smallest))
            if not one or not base:
                yield unknown(title, wanted)
                continue
            ratio, whole = one["added"] / base["added"], one["envoy"] / base["envoy"]
            parts = f"**{ratio:.2f} ×** of what is added, {whole:.2f} × of the whole request"
            yield title, wanted, parts, reach(ratio <= SAME)


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
    title, wanted = "first streamed byte", "no later, beyond noise"
    if "stream" not in sections:
        yield unknown(title, wanted)
        return
    later, noise = stream.added(sections["stream"]), stream.noise(sections["stream"])
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
Ratios are of *added* CPU, medians of this run. What a target calls the same may differ by 5 %.
"""
