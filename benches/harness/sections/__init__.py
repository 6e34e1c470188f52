"""One module for each part of the report: `measure` makes its figures, `render` its text."""

from types import ModuleType

from . import contenders, fetches, hostcalls, memory, scale, start, stream, upstream, waiting

SECTIONS: dict[str, ModuleType] = {
    "contenders": contenders,
    "upstream": upstream,
    "scale": scale,
    "start": start,
    "stream": stream,
    "waiting": waiting,
    "fetches": fetches,
    "memory": memory,
    "hostcalls": hostcalls,
}
"""In the order of the report."""
