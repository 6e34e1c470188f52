"""Takes the pictures of real runs: recording.py FOLDER, which holds the programs `demo`, `keyless` and `local-azure`.

It writes demo.svg, and explain-light.svg and explain-dark.svg. ENVOY and KEYLESS_WASM are those of `make demo`.
"""
import html
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
DARK = {"paper": "#0d1117", "ink": "#e6edf3", "2": "fill:#8b949e", "31": "fill:#ff7b72", "32": "fill:#7ee787"}
LIGHT = {"paper": "#f6f8fa", "ink": "#1f2328", "2": "fill:#59636e", "31": "fill:#cf222e", "32": "fill:#1a7f37"}
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


def styled(line, colours):
    """Turns the colours of a line into spans, and cuts what is too wide."""
    spans, style, width = [], "", 0
    for part in re.split(r"(\x1b\[\d+m)", line):
        if code := re.fullmatch(r"\x1b\[(\d+)m", part):
            style = "font-weight:600" if code[1] == "1" else colours.get(code[1], "")
        elif part and width < WIDTH:
            shown = part if width + len(part) <= WIDTH else part[: WIDTH - width - 1] + "…"
            width += len(part)
            spans.append(f'<tspan style="{style}">{html.escape(shown)}</tspan>')
    return "".join(spans)


def draw(name, label, lines, colours):
    rows = [
        f'<text x="16" y="{44 + LINE * number}" xml:space="preserve">{styled(line, colours)}</text>'
        for number, line in enumerate(lines)
    ]
    height = 60 + LINE * len(lines)
    Path(__file__).with_name(name).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * 8 + 32} {height}" role="img" aria-label="{label}">'
        f"<style>text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:{colours['ink']}}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="{colours["paper"]}"/>'
        '<circle cx="18" cy="16" r="5" fill="#ff5f57"/><circle cx="36" cy="16" r="5" fill="#febc2e"/>'
        '<circle cx="54" cy="16" r="5" fill="#28c840"/>' + "\n".join(rows) + "</svg>\n"
    )


def demo(folder):
    """Shows the first three steps of the demo, and its result."""
    text = run(folder / "demo")
    blocks = [block for block in re.split(r"\n(?=\x1b\[1m)", text) if re.match(r"\x1b\[1m[123]  ", block)]
    lines = ["\x1b[2m$\x1b[0m make demo", ""]
    for block in blocks:
        lines += [line for line in block.strip("\n").split("\n") if line.strip()] + [""]
    lines.append(text.rstrip("\n").split("\n")[-1])
    draw("demo.svg", "make demo", lines, DARK)


def fetched(url, body=None):
    return urllib.request.urlopen(url, body).read().decode()


def explained(folder):
    """Explains a request whose token lacks the scope, with the keys of the issuer that has signed it."""
    azure = subprocess.Popen([folder / "local-azure"], stdout=subprocess.PIPE, text=True)
    try:
        said = dict(azure.stdout.readline().split() for _ in range(6))
        claims = {"scp": "openai.embeddings"}
        token = fetched(f"{said['control']}/issuer/token", json.dumps({"claims": claims}).encode())
        keys = fetched(f"{said['issuer']}/{TENANT}/discovery/v2.0/keys")
    finally:
        azure.terminate()
        azure.wait()
    words = "explain --config envoy.yaml --token token --jwks keys.json --method POST"
    words = [*words.split(), "--path", "/openai/deployments/gpt-4o/chat/completions"]
    with tempfile.TemporaryDirectory() as place:
        for name, text in {"token": token, "keys.json": keys, "envoy.yaml": (ROOT / "envoy.yaml").read_text()}.items():
            Path(place, name).write_text(text)
        done = subprocess.run([folder / "keyless", *words], cwd=place, capture_output=True, text=True)
    if done.returncode != 1:
        raise SystemExit(f"it should be refused: {done.stdout}{done.stderr}")
    return ["\x1b[2m$\x1b[0m keyless " + " ".join(words[:-2]) + " \\", "    " + " ".join(words[-2:]), ""] + [
        marked(line) for line in done.stdout.rstrip("\n").split("\n")
    ]


def marked(line):
    """Gives colours to what the program prints without any."""
    if line and not line.startswith(" "):
        return f"\x1b[1m{line}\x1b[0m"
    line = re.sub(r"(does not hold|LACKS .*)$", "\x1b[31m\\1\x1b[0m", line)
    return re.sub(r"\b(holds|good)\b", "\x1b[32m\\1\x1b[0m", line)


def main(folder):
    folder = Path(folder).resolve()
    demo(folder)
    lines = explained(folder)
    draw("explain-light.svg", "keyless explain", lines, LIGHT)
    draw("explain-dark.svg", "keyless explain", lines, DARK)


if __name__ == "__main__":
    main(*sys.argv[1:])
