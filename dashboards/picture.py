#!/usr/bin/env python3
"""Draws the panels of keyless.json as SVG, with what a Prometheus answers to their queries.

It is no picture of Grafana: places, titles, queries, units and legends are the dashboard's, the drawing is this script's.
Called by `UPDATE=1 make dashboards` with the URL of Prometheus, the time of begin and end, and the folder for the pictures.
"""

import json
import math
import re
import sys
import textwrap
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

URL, BEGIN, END, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
BOARD = json.loads((Path(__file__).parent / "keyless.json").read_text())
STEPS = 45
# Rows that fill two screens; the others are in the file.
SHOWN = ["Callers", "Keys", "Usage", "Limits"]
LINES = 5

THEMES = {
    "light": {"page": "#f4f5f5", "panel": "#ffffff", "edge": "#dcdfe3", "text": "#24292e", "faint": "#6a737d"},
    "dark": {"page": "#111217", "panel": "#181b1f", "edge": "#2c3235", "text": "#ccccdc", "faint": "#8e8e9b"},
}
COLORS = ["#3274d9", "#56a64b", "#e0b400", "#e02f44", "#a352cc", "#ff780a", "#19a0a0", "#8f8f8f"]


def ask(path, **parameters):
    with urllib.request.urlopen(f"{URL}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
        return json.load(answer)["data"]["result"]


def filled(expression):
    expression = re.sub(r'"\$(instance|issuer|route)"', '".*"', expression)
    return expression.replace("$__rate_interval", "30s").replace("$__range", f"{END - BEGIN}s")


def legend(form, labels):
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), form).replace("127.0.0.1:", "gateway:")


def written(value, unit):
    """A value in the unit, short."""
    if unit == "percentunit":
        return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"
    if unit == "s" and value >= 3600:
        return f"{value / 3600:.3g} h"
    ending = {"reqps": "/s", "ms": " ms", "s": " s"}.get(unit, "")
    if abs(value) >= 10000:
        return f"{value / 1000:.1f} k{ending.strip()}"
    return f"{value:.3g}{ending}" if abs(value) < 1000 else f"{value:.0f}{ending}"


def number(axes, panel, theme):
    target = panel["targets"][0]
    [result] = ask("query", query=filled(target["expr"]), time=END)
    value, unit = float(result["value"][1]), panel["fieldConfig"]["defaults"]["unit"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    color = [step["color"] for step in steps if value >= (step["value"] or -math.inf)][-1]
    color = {"text": theme["text"], "green": COLORS[1], "yellow": COLORS[2], "red": COLORS[3]}[color]
    axes.text(0.5, 0.42, written(value, unit), color=color, size=17, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def graph(axes, panel, theme):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    series = []
    for target in panel["targets"]:
        for result in ask("query_range", query=filled(target["expr"]), start=BEGIN, end=END, step=(END - BEGIN) / STEPS):
            points = {float(time): float(value) for time, value in result["values"] if math.isfinite(float(value))}
            if points:
                series.append((legend(target["legendFormat"], result["metric"]), points))
    series.sort(key=lambda one: -sum(one[1].values()))
    more, series = series[LINES:], series[:LINES]
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    times = sorted({time for _, points in series for time in points})
    stamps = [time - BEGIN for time in times]
    if stacked:
        values = [[points.get(time, 0) for time in times] for _, points in series]
        axes.stackplot(stamps, values, colors=COLORS, alpha=0.75, linewidth=0)
    for (_, points), color in zip(series, COLORS):
        if not stacked:
            axes.plot(stamps, [points.get(time, math.nan) for time in times], color=color, linewidth=1.1)
    for place, ((name, points), color) in enumerate(zip(series, COLORS)):
        last = written(points[max(points)], unit)
        axes.text(
            0.5 * (place % 2), -0.2 - 0.105 * (place // 2), "■", color=color, size=5.5, va="top", transform=axes.transAxes
        )
        axes.text(
            0.5 * (place % 2) + 0.03, -0.2 - 0.105 * (place // 2), f"{textwrap.shorten(name, 30, placeholder='…')}  {last}",
            color=theme["text"], size=5.5, va="top", transform=axes.transAxes,
        )
    if more:
        axes.text(0.53, -0.41, f"and {len(more)} more", color=theme["faint"], size=5.5, va="top", transform=axes.transAxes)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, END - BEGIN)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 60:.0f} min" if value % 60 == 0 else f"{value:.0f} s"))
    axes.tick_params(colors=theme["faint"], labelsize=5.5, length=0)
    axes.grid(color=theme["edge"], linewidth=0.4)
    for edge in axes.spines.values():
        edge.set_visible(False)


def rows(panel):
    """The table of a panel: the labels, then a column for each query."""
    table, names = {}, [target["refId"] for target in panel["targets"]]
    for target in panel["targets"]:
        for result in ask("query", query=filled(target["expr"]), time=END):
            labels = tuple(result["metric"].get(name, "") for name in ("issuer", "route", "deployment", "basis"))
            table.setdefault(labels, {})[target["refId"]] = float(result["value"][1])
    yield ["issuer", "route", "deployment", "basis", *names]
    for labels, values in sorted(table.items()):
        yield [*labels, *(cell(values.get(name)) for name in names)]


def cell(value):
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(axes, panel, theme):
    for line, row in enumerate(list(rows(panel))[:8]):
        for column, cell in enumerate(row):
            color = theme["faint"] if line == 0 else theme["text"]
            axes.text(0.125 * column, 1 - 0.125 * line, cell, color=color, size=6.5, va="top", transform=axes.transAxes)
    axes.set_axis_off()


def shown():
    """The panels to draw, with their places moved up into the room of what is left out."""
    offset, is_shown, last = 0, True, 0
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            is_shown = any(panel["title"].startswith(name) for name in SHOWN)
            if is_shown:
                offset = place["y"] - last
        if is_shown:
            top = place["y"] - offset
            last = max(last, top + place["h"])
            yield panel, place["x"], top, place["w"], place["h"]


def short(svg):
    """The same without digits that nobody sees, and names that nothing refers to."""
    svg = re.sub(r"<!--.*?-->", "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r" \n?([LMz])", r"\1", svg)
    svg = re.sub(r' id="(?!p[0-9a-f]{10})[^"]*"', "", svg)
    return re.sub(r"\n\s*", "\n", svg)


def draw(name, theme):
    panels = list(shown())
    height = max(top + tall for _, _, top, _, tall in panels)
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "keyless", "font.family": "sans-serif", "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"]})
    wide, tall = 12, 0.235 * height
    figure = plt.figure(figsize=(wide, tall), facecolor=theme["page"])
    for panel, left, top, width, size in panels:
        x, y = left / 24 + 0.003, 1 - (top + size) / height
        w, h = width / 24 - 0.006, size / height - 0.06 / tall
        if panel["type"] == "row":
            figure.text(x, y + h / 2, panel["title"], color=theme["text"], size=8.5, weight="bold", va="center")
            continue
        figure.patches.append(
            matplotlib.patches.Rectangle((x, y), w, h, transform=figure.transFigure, facecolor=theme["panel"], edgecolor=theme["edge"], linewidth=0.6, zorder=-1)
        )
        figure.text(x + 0.006, y + h - 0.08 / tall, panel["title"], color=theme["text"], size=7, weight="medium", va="top")
        kind = {"stat": number, "timeseries": graph, "table": table}[panel["type"]]
        bottom = {"stat": 0, "timeseries": 0.58 / tall, "table": 0.08 / tall}[panel["type"]]
        margin = 0.045 if panel["type"] == "timeseries" else 0.01
        axes = figure.add_axes((x + margin, y + bottom, w - margin - 0.012, h - bottom - 0.3 / tall), facecolor=theme["panel"])
        kind(axes, panel, theme)
    path = FOLDER / f"dashboard-{name}.svg"
    figure.savefig(path, format="svg", facecolor=theme["page"], metadata={"Date": None})
    plt.close(figure)
    path.write_text(short(path.read_text()))
    assert path.stat().st_size <= 150_000, f"{path} has {path.stat().st_size} bytes"


for name, theme in THEMES.items():
    draw(name, theme)
