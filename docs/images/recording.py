"""Writes demo.svg from a real run in a terminal: recording.py PROGRAM. ENVOY and KEYLESS_WASM are those of `make demo`."""
import html
import os
import pty
import re
import sys
from pathlib import Path

COLOURS = {"1": "font-weight:600", "2": "fill:#8b949e", "31": "fill:#ff7b72", "32": "fill:#7ee787"}
WIDTH, LINE = 100, 18


def run(program):
    """Runs the program in a terminal, and returns what it printed."""
    printed = bytearray()

    def read(descriptor):
        data = os.read(descriptor, 4096)
        printed.extend(data)
        return data

    if pty.spawn([program], read) != 0:
        raise SystemExit("the demo failed")
    return printed.decode().replace("\r", "")


def styled(line):
    """Turns the colours of a line into spans, and cuts what is too wide."""
    spans, style, width = [], "", 0
    for part in re.split(r"(\x1b\[\d+m)", line):
        if code := re.fullmatch(r"\x1b\[(\d+)m", part):
            style = COLOURS.get(code[1], "")
        elif part and width < WIDTH:
            shown = part if width + len(part) <= WIDTH else part[: WIDTH - width - 1] + "…"
            width += len(part)
            spans.append(f'<tspan style="{style}">{html.escape(shown)}</tspan>')
    return "".join(spans)


def main(program):
    text = run(program)
    blocks = [block for block in re.split(r"\n(?=\x1b\[1m)", text) if re.match(r"\x1b\[1m[123]  ", block)]
    lines = ["\x1b[2m$\x1b[0m make demo", ""]
    for block in blocks:
        lines += [line for line in block.strip("\n").split("\n") if line.strip()] + [""]
    lines.append(text.rstrip("\n").split("\n")[-1])
    rows = [
        f'<text x="16" y="{44 + LINE * number}" xml:space="preserve">{styled(line)}</text>'
        for number, line in enumerate(lines)
    ]
    height = 60 + LINE * len(lines)
    Path(__file__).with_name("demo.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * 8 + 32} {height}" role="img" aria-label="make demo">'
        "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#e6edf3}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>'
        '<circle cx="18" cy="16" r="5" fill="#ff5f57"/><circle cx="36" cy="16" r="5" fill="#febc2e"/>'
        '<circle cx="54" cy="16" r="5" fill="#28c840"/>' + "\n".join(rows) + "</svg>\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
