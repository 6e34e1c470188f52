#!/usr/bin/env python3
"""Writes into a folder what a release publishes: release.py MODULE PROGRAM FOLDER. RELEASING.md lists the files."""
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def components():
    """Describes the packages that the module is built from, in the words of CycloneDX."""
    words = ["cargo", "tree", "--locked", "--package", "keyless", "--target", "wasm32-wasip1", "--edges", "normal"]
    words += ["--prefix", "none", "--format", "{p}|{l}"]
    lines = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = []
    for package, licence in sorted({tuple(line.removesuffix(" (*)").split("|")) for line in lines if line}):
        name, version = package.split()[:2]
        version = version.removeprefix("v")
        found.append({"type": "library", "name": name, "version": version, "purl": f"pkg:cargo/{name}@{version}"})
        if licence:
            found[-1]["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    return found


def bill_of_materials():
    """Writes the software bill of materials (CycloneDX 1.5)."""
    everything = components()
    [module] = [one for one in everything if one["name"] == "keyless"]
    everything.remove(module)
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    return document | {"metadata": {"component": module}, "components": everything}


def version():
    """Reads the workspace's version."""
    return re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def notes():
    """Reads the changelog's section of this version, or else of what is not released."""
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    for name in (f"[{version()}]", "[Unreleased]"):
        for section in sections:
            if section.startswith(name):
                return section.split("\n", 1)[1].strip() + "\n"
    raise SystemExit("CHANGELOG.md has neither this version nor Unreleased")


def main(module, program, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = f"{platform.system()}-{platform.machine()}".lower().replace("darwin", "macos").replace("arm64", "aarch64")
    shutil.copy(module, folder / "keyless.wasm")
    shutil.copy(program, folder / f"keyless-{kind}")
    shutil.copy(ROOT / "keyless.schema.json", folder)
    (folder / "keyless.cdx.json").write_text(json.dumps(bill_of_materials(), indent=2) + "\n")
    (folder / "NOTES.md").write_text(notes())
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    print(f"keyless {version()} in {folder}:", *(path.name for path in files), "SHA256SUMS")


if __name__ == "__main__":
    main(*sys.argv[1:])
