#!/usr/bin/env python3
"""Completes the book in a folder, `FOLDER/docs`, and checks its links: book.py FOLDER.

Pages also link to files outside of `docs/`. Those are copied beside the book, at the same relative place; mdBook has
made `.html` of the `.md` of their links, which is put right. Whatever else leads nowhere is an error.
"""
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def original(path, book):
    """Finds the file of the repository that a link leads to, and its place beside the book."""
    inside = path.relative_to(book)
    for name in (inside, inside.with_suffix(".md")):
        if (ROOT / name).exists():
            return ROOT / name, book / name
    return None, None


def complete(page, book, dead):
    """Puts right the links of a page, and notes those that lead nowhere."""

    def repaired(link):
        attribute, target = link[1], link[2]
        path = (page.parent / target.split("#")[0]).resolve()
        if re.match(r"[a-z]+:|#|//|/", target) or path.exists():
            return link[0]
        source, place = original(path, book) if path.is_relative_to(book) else (None, None)
        if source is None:
            dead.append(f"{page.relative_to(book)}: {target}")
            return link[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
        return f'{attribute}="{target.replace(path.name, place.name)}"'

    text = page.read_text()
    page.write_text(re.sub(r'\b(href|src|srcset)="([^"]+)"', repaired, text))


def main(folder):
    book, dead = Path(folder).resolve(), []
    pages = [page for page in sorted((book / "docs").rglob("*.html")) if page.name not in ("404.html", "print.html")]
    for page in pages:
        complete(page, book, dead)
    if dead:
        raise SystemExit("\n".join(["links that lead nowhere:", *dead]))
    print(f"{len(pages)} pages, every link leads somewhere: {book}/docs/index.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
