"""The targets that keyless has set itself, against the figures of the same run."""

from collections.abc import Iterator

from .markdown import table, us

Row = tuple[str, str, str, str]

RATIOS = [
    ("warm, to `jwt_authn` with its cache", "keyless-warm", "jwt-cache", 1.00),
    ("warm, to the native stack with its cache", "keyless-warm", "native-cache", 0.80),
    ("2,000 tokens, to `jwt_authn` with its cache", "keyless-2000", "jwt-cache-2000", 0.25),
    ("100,000 tokens, to keyless with new ones", "keyless-100k", "keyless-cold", 1.00),
    ("cold RS256, to `jwt_authn`", "keyless-cold", "jwt", 0.80),
    ("cold ES256, to `jwt_authn`", "keyless-cold-es256", "jwt-es256", 0.85),
    ("cold RS256, to `ext_authz`, HTTP", "keyless-cold", "authz-http", 0.20),
    ("cold RS256, to `ext_authz`, gRPC", "keyless-cold", "authz-grpc", 0.20),
    ("warm, to `ext_authz`, HTTP with a cache", "keyless-warm", "authz-http-cache", 0.20),
    ("warm, to `ext_authz`, gRPC with a cache", "keyless-warm", "authz-grpc-cache", 0.20),
]
"""Added CPU of one case over added CPU of another, and the most that this may be."""

MODULE = 700_000


def render(found: dict) -> str:
    """Returns the table of targets."""
    rows = [*ratios(found), *others(found)]
    return table(["target", "wanted", "found", "reached"], rows).replace("---:", "---")


def ratios(found: dict) -> Iterator[Row]:
    """Yields the ratios of added CPU. The spread is that of the extremes of all rounds."""
    cases = {case["name"]: case for case in found["sections"].get("contenders", {}).get("cases", [])}
    for title, ours, theirs, most in RATIOS:
        one, other = cases.get(ours, {}), cases.get(theirs, {})
        if "added" not in one or "added" not in other:
            yield title, f"≤ {most:.2f} ×", "not measured", "?"
            continue
        ratio = one["added"] / other["added"]
        parts = f"{us(one['added'])} µs to {us(other['added'])} µs"
        reached = reach(ratio <= most * (1.05 if ours == "keyless-100k" else 1))
        yield title, f"≤ {most:.2f} ×", f"**{ratio:.2f} ×** ({parts})", reached


def others(found: dict) -> Iterator[Row]:
    """Yields the targets that are no ratio of two contenders."""
    yield "module", f"≤ {MODULE:,} bytes", f"{found['module']:,} bytes", reach(found["module"] <= MODULE)


def reach(reached: bool) -> str:
    """Returns the verdict."""
    return "yes" if reached else "**no**"
