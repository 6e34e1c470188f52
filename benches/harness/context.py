"""What every section is given."""

from dataclasses import dataclass

from .arena import Effort
from .envoy import Bench
from .tokens import Mint


@dataclass(frozen=True)
class Context:
    """Where things are, how much effort to make, and what was asked for."""

    bench: Bench
    mint: Mint
    effort: Effort
    only: tuple[str, ...]
    requests_for_memory: int

    def wants(self, section: str, name: str = "") -> bool:
        """Returns true if a section, or one case of it, is to be measured."""
        return not self.only or section in self.only or (bool(name) and name in self.only)
