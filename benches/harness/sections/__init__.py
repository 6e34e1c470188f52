"""One module for each part of the report: `measure` makes its figures, `render` its text."""

from types import ModuleType

from . import contenders

SECTIONS: dict[str, ModuleType] = {
    "contenders": contenders,
}
"""In the order of the report."""
