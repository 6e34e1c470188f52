"""One module for each part of the report: `measure` makes its figures, `render` its text."""

from types import ModuleType

from . import (
    contenders,
    fetches,
    hostcalls,
    memory,
    profile,
    scale,
    start,
    stream,
    upstream,
    waiting,
    workers,
)

SECTIONS: dict[str, ModuleType] = {
    "contenders": contenders,
    "upstream": upstream,
    "scale": scale,
    "start": start,
    "stream": stream,
    "waiting": waiting,
    "workers": workers,
    "fetches": fetches,
    "memory": memory,
    "hostcalls": hostcalls,
    "profile": profile,
}
"""In the order of the report."""
