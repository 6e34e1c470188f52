"""Tables."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table; every column but the first is aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def us(value: float) -> str:
    """Returns microseconds, with as many digits as mean something."""
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def ms(value: float) -> str:
    """Returns microseconds as milliseconds."""
    return f"{value / 1000:.2f}"


def mib(value: float) -> str:
    """Returns bytes as MiB."""
    return f"{value / 2**20:.1f}"
