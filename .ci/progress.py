#!/usr/bin/env python3
"""Shows one line while cargo builds: cargo build --quiet --message-format json-render-diagnostics | progress.py WHAT."""
import json
import sys
import time


def main(what):
    started, built, succeeded, is_terminal = time.monotonic(), 0, False, sys.stdout.isatty()
    if not is_terminal:
        print(f"building {what}", flush=True)
    for line in sys.stdin:
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "build-finished":
            succeeded = message["success"]
        if message.get("reason") == "compiler-artifact":
            built += 1
            if is_terminal:
                seconds = int(time.monotonic() - started)
                print(f"\r\x1b[Kbuilding {what}: {built} crates, {seconds} s, {message['target']['name']}", end="", flush=True)
    if is_terminal:
        print("\r\x1b[K", end="")
    raise SystemExit(0 if succeeded else f"{what} could not be built")


if __name__ == "__main__":
    main(*sys.argv[1:])
