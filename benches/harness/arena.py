"""What each contender costs a request: the cases take turns, round after round."""

import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from . import probe
from .cases import NONE, Case
from .chains import Json
from .envoy import Bench, Envoy
from .machine import CORES
from .tokens import Mint
from .world import World
from .wrk import Load, Sample, Void, run

FLOOR_EVERY = 8
"""After so many cases the floor is measured again, so that each has it near."""

STREAMED = 4
"""The least that a turn with streams takes, in s: on a crowded machine some streams take more than one."""

REMEMBERED = 4096
"""How many tokens keyless remembers as shipped."""


@dataclass
class Seat:
    """A case in its own Envoy, and what was measured so far."""

    case: Case
    envoy: Envoy
    samples: list[tuple[int, Sample]]
    sent: int = 0
    rate: float = 0.0
    void: str = ""

    def turn(self, seconds: float) -> float:
        """Returns how long a turn may be, in s: if no token may come twice, they must suffice."""
        tokens = self.case.tokens
        if not tokens.each_is_new or not self.rate:
            return seconds
        return min(seconds, max(1, int(0.8 * tokens.count / self.rate)))


@dataclass(frozen=True)
class Effort:
    """How long and how often is measured."""

    rounds: int
    seconds: float

    def less(self) -> "Effort":
        """Returns what is enough for a section that has no target of its own within a few per cent."""
        return Effort((self.rounds + 1) // 2, self.seconds)


class Arena:
    """The Envoys of some cases, all running; only the one that is measured gets requests."""

    def __init__(self, bench: Bench, mint: Mint, method: str = "GET", frame: int = 0) -> None:
        self.bench, self.mint, self.method, self.frame = bench, mint, method, frame
        self.seats: list[Seat] = []
        self._stack = ExitStack()
        self.world = World(mint.jwks())

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.world.close()

    def add(
        self,
        case: Case,
        filters: list[Json] | None = None,
        backend: int | None = None,
        world: World | None = None,
        workers: int = 1,
    ) -> None:
        """Starts the Envoy of a case, sees that it does its job, and lets it warm up. More than one
        worker share the load generator's core, too."""
        world = world or self.world
        cores = (CORES.envoy,) if workers == 1 else (CORES.envoy, CORES.load)
        envoy = Envoy(
            self.bench, case.chain, world, filters=filters, backend=backend, workers=workers, cores=cores
        )
        self._stack.push(envoy)
        seat = Seat(case, envoy, [])
        self.seats.append(seat)
        try:
            probe.check(envoy, self.mint, case.tokens.alg)
        except AssertionError as error:
            raise SystemExit(f"{case.name} does not do its job: {error}") from None
        self.warm_up(seat)

    def warm_up(self, seat: Seat) -> None:
        """Sends requests until a cache that has room for all tokens has seen each of them."""
        fits = seat.case.tokens.count <= REMEMBERED
        wanted = 2 * seat.case.tokens.count if fits else 1
        while seat.sent < wanted and not seat.void:
            self.measure(seat, 1, keep=None)

    def measure(self, seat: Seat, seconds: float, keep: int | None) -> None:
        """Runs the load on one case; `keep` is the number of the round."""
        tokens = seat.case.tokens
        seconds = max(seconds, STREAMED) if self.frame else seconds
        load = Load(
            tokens=self.mint.file(tokens.alg),
            count=tokens.count,
            seconds=seat.turn(seconds),
            first=seat.sent % tokens.count,
            method=self.method,
            each_is_new=tokens.each_is_new,
            frame=self.frame,
        )
        try:
            sample = run(seat.envoy, load)
        except Void as reason:
            seat.void = str(reason)
            print(f"  {seat.case.name}: VOID: {reason}", flush=True)
            return
        seat.sent += sample.requests
        seat.rate = sample.rate
        if keep is not None:
            seat.samples.append((keep, sample))

    def play(self, effort: Effort, label: str) -> None:
        """Measures every case in every round, in another order each time."""
        floor = next((seat for seat in self.seats if seat.case.name == NONE.name), None)
        for turn in range(effort.rounds):
            print(f"{label}: round {turn + 1} of {effort.rounds}", flush=True)
            order = [seat for seat in self.seats if seat is not floor]
            random.Random(turn).shuffle(order)
            for index, seat in enumerate(order):
                if floor and index % FLOOR_EVERY == 0:
                    self.measure(floor, effort.seconds, turn)
                self.measure(seat, effort.seconds, turn)
            if floor:
                self.measure(floor, effort.seconds, turn)

    def results(self) -> list[Json]:
        """Returns what each case cost, and what it added to the floor of the same round."""
        floors: dict[int, list[float]] = {}
        for seat in self.seats:
            if seat.case.name == NONE.name:
                for turn, sample in seat.samples:
                    floors.setdefault(turn, []).append(sample.envoy)
        medians = {turn: statistics.median(costs) for turn, costs in floors.items()}
        return [summary(seat, medians) for seat in self.seats]


def summary(seat: Seat, floors: dict[int, float]) -> Json:
    """Returns the medians over the rounds, and the least and the most that was added."""
    case = seat.case
    result: Json = {"name": case.name, "group": case.group, "title": case.title, "void": seat.void}
    samples = [sample for _, sample in seat.samples]
    if not samples or seat.void:
        return result
    fields = samples[0].record()
    for field in fields:
        result[field] = statistics.median(sample.record()[field] for sample in samples)
    added = [
        sample.envoy + sample.service - floors[turn]
        for turn, sample in seat.samples
        if turn in floors
    ]
    if added:
        result |= spread(added)
    result["others_busy"] = max(sample.others_busy for sample in samples)
    return result


def spread(added: Sequence[float]) -> Json:
    """Returns the median of what was added, and its extremes."""
    return {"added": statistics.median(added), "least": min(added), "most": max(added)}


def choose(cases: Sequence[Case], wanted: Callable[[str], bool]) -> list[Case]:
    """Returns the cases that are wanted, and the floor, without which nothing can be said."""
    return [case for case in cases if case is NONE or wanted(case.name)]
