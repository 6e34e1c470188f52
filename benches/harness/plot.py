"""The plots, as SVG: readable on a light and on a dark page, or one for each."""

from html import escape
from pathlib import Path

from .chains import Json

OURS, THEIRS = "#2563eb", "#94a3b8"
WIDTH, LABELS, ROW = 960, 520, 22
STYLE = "<style>text{{font:12px sans-serif;fill:{}}}.title{{font-weight:bold;font-size:13px}}</style>"
GREY = "#64748b"
THEMES = {"light": "#24292f", "dark": "#d0d7de"}


def svg(path: Path, height: int, parts: list[str], colour: str = GREY) -> None:
    """Writes the file, with text of this colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    path.write_text("\n".join([head, STYLE.format(colour), *parts, "</svg>"]) + "\n")


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Returns a line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def bars(path: Path, title: str, rows: list[tuple[str, Json]], ink: str = GREY) -> None:
    """Draws a bar for each case, with a whisker from the least to the most. Bars that leave the
    picture are cut, and say how long they are."""
    if not rows:
        return
    costs = sorted(case["added"] for _, case in rows)
    limit = costs[int(len(costs) * 0.85)] * 1.15
    scale = (WIDTH - LABELS - 70) / limit
    parts = [text(8, 18, title, kind="title")]
    for index, (label, case) in enumerate(rows):
        top = 30 + index * ROW
        plain = label.replace("`", "").replace("*", "")
        colour = OURS if "keyless" in plain else THEIRS
        cost, least, most = (max(0.0, min(case[key], limit)) for key in ("added", "least", "most"))
        parts.append(text(LABELS - 8, top + 14, plain, "end"))
        parts.append(
            f'<rect x="{LABELS}" y="{top + 2}" width="{cost * scale:.1f}" height="{ROW - 6}" '
            f'fill="{colour}"/>'
        )
        ends = f'x1="{LABELS + least * scale:.1f}" x2="{LABELS + most * scale:.1f}"'
        middle = top + ROW / 2 - 1
        parts.append(f'<line {ends} y1="{middle}" y2="{middle}" stroke="#f59e0b" stroke-width="2"/>')
        words = f"{case['added']:.1f}" + (" →" if case["added"] > limit else "")
        parts.append(text(LABELS + max(cost, most) * scale + 6, top + 14, words))
    svg(path, 40 + len(rows) * ROW, parts, ink)


def lines(path: Path, title: str, curves: dict[str, list[tuple[str, float]]]) -> None:
    """Draws curves over a few steps, those of the first curve."""
    top = max(cost for points in curves.values() for _, cost in points) * 1.15
    height, left, bottom = 320, 60, 280
    steps = [step for step, _ in next(iter(curves.values()))]
    gap = (WIDTH - 360) / (len(steps) - 1)
    parts = [text(8, 18, title, kind="title")]
    parts += [text(left + i * gap, 305, f"{step} tokens", "middle") for i, step in enumerate(steps)]
    for label, points in curves.items():
        colour = OURS if label.startswith("keyless") else THEIRS
        places = [
            (left + steps.index(step) * gap, bottom - cost / top * 240) for step, cost in points
        ]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), (_, cost) in zip(places, points, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            parts.append(text(x, y - 8, f"{cost:.1f}", "middle"))
        parts.append(text(places[-1][0] + 20, places[-1][1] + 4, label))
    svg(path, height, parts)
