"""What a watcher keeps of a run's many events: few points of the training loss, however long the run; no Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_melanoma.ui.runs.words import number

MOST_POINTS = 1200  # more than a plot of 340 pixels can show
AT_REST = ("cancelled", "failed", "finished", "queued", "paused")  # after one of these a run does nothing


@dataclass(frozen=True)
class Losses:
    """The training loss along the run: ``epochs`` (3.25: a quarter of the fourth epoch is done) and ``values``."""

    epochs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass
class Trace:
    """Takes step events as they come; of neighbours that stand too close the mean is kept."""

    _epochs: list[float] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _sum: float = 0.0
    _waiting: int = 0
    _each: int = 1

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take new events; a step that lies before others repeats an epoch after a resume and replaces them."""
        before = len(self._epochs), self._each
        for event in events:
            place, loss = _place(event), number(event, "loss")
            if place is not None and loss is not None:
                self._take(place, loss)
        return (len(self._epochs), self._each) != before

    def losses(self) -> Losses:
        """Give the points as they are.

        At most ``MOST_POINTS`` points, in order.
        """
        return Losses(tuple(self._epochs), tuple(self._values))

    def _take(self, place: float, loss: float) -> None:
        while self._epochs and self._epochs[-1] >= place:
            self._epochs.pop()
            self._values.pop()
            self._sum = self._waiting = 0
        self._sum += loss
        self._waiting += 1
        if self._waiting < self._each:
            return
        self._epochs.append(place)
        self._values.append(self._sum / self._waiting)
        self._sum = self._waiting = 0
        if len(self._epochs) > MOST_POINTS:
            self._halve()

    def _halve(self) -> None:
        pairs = zip(self._values[::2], self._values[1::2], strict=False)
        self._values = [(first + second) / 2 for first, second in pairs]
        self._epochs = self._epochs[1::2]
        self._each *= 2


@dataclass
class Worked:
    """Sums up how long a run was at work: not while it waited, was paused, or lay cancelled before a resume."""

    seconds: float = 0.0
    _before: float | None = None
    _resting: bool = False

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take new events as they come."""
        for event in events:
            now, kind = number(event, "time"), event.get("kind")
            if now is None:
                continue
            if self._before is not None and not self._resting and kind != "launched":
                self.seconds += max(0.0, now - self._before)
            self._before, self._resting = now, kind in AT_REST


def _place(event: Mapping[str, Any]) -> float | None:
    """Say how many epochs are done at a step, None for what is no step."""
    if event.get("kind") != "step":
        return None
    epoch, batches = number(event, "epoch"), number(event, "batches")
    if epoch is None:  # a line of another version
        return None
    return epoch + ((number(event, "batch") or 0.0) / batches if batches else 0.5)
