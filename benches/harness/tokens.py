"""The callers' tokens: minted once, kept under `target/bench`, minted again before they expire."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

LIFE = 30 * 24 * 3600
"""They live longer than Entra's, so that a second run need not mint them again; it costs nobody
anything."""

COUNTS = {"RS256": 100_000, "ES256": 100_000, "PS256": 20_000, "EdDSA": 20_000}


@dataclass(frozen=True)
class Tokens:
    """Tokens that a load generator sends in rotation: `count` of one algorithm."""

    alg: str
    count: int
    each_is_new: bool = False
    """No token twice in a run, or the run is void."""


class Mint:
    """The folder of the minted tokens."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "minted.json"
        wanted = {"counts": COUNTS, "program": program.stat().st_mtime_ns}
        if note.exists():
            found = json.loads(note.read_text())
            if found["wanted"] == wanted and found["at"] + LIFE / 2 > time.time():
                return
        print(f"minting {sum(COUNTS.values()):,} tokens into {folder}, once", flush=True)
        counts = [f"{alg}={count}" for alg, count in COUNTS.items()]
        subprocess.run([program, "--dir", folder, "--life", str(LIFE), *counts], check=True)
        note.write_text(json.dumps({"wanted": wanted, "at": time.time()}))

    def file(self, alg: str) -> Path:
        """Returns the file with the tokens of an algorithm, or `next` or `unscoped`."""
        return self.folder / f"{alg.lower()}.tokens"

    def first(self, alg: str) -> str:
        """Returns the first token of a file."""
        with self.file(alg).open() as lines:
            return lines.readline().strip()

    def jwks(self, name: str = "jwks") -> dict:
        """Returns the issuer's keys: `jwks`, today's, or `next.jwks`, with tomorrow's too."""
        return json.loads((self.folder / f"{name}.json").read_text())
