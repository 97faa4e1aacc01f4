"""Time as a run counts it: pauses left out, so that speed and the time that is left stay honest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of work, and whether it is time again for something that is done now and then."""

    def __init__(self) -> None:
        self._stood_still = 0.0
        self._done: dict[str, float] = {}

    def now(self) -> float:
        """Read the clock.

        Seconds since some moment, without pauses.
        """
        return time.monotonic() - self._stood_still

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still.

        While nothing is counted.
        """
        began = time.monotonic()
        try:
            yield
        finally:
            self._stood_still += time.monotonic() - began

    def is_due(self, what: str, interval_s: float) -> bool:
        """Say whether something is to be done again, and take it for done.

        ``interval_s``: seconds from one time to the next. False the first time asked, unless the interval is nothing:
        its seconds begin then.
        """
        now = self.now()
        if now - self._done.setdefault(what, now) < interval_s:
            return False
        self._done[what] = now
        return True


class Pace:
    """How fast an epoch goes, and how long the rest of the run will take at that."""

    TUNING_SHARE = 0.4  # of a batch's time, where none was measured yet: forward without backward

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._tuning_began = self._began
        self._done = 0
        self._tuning_s: float | None = None

    def begin_epoch(self) -> None:
        """Begin to count batches anew."""
        self._began, self._done = self._clock.now(), 0

    def count_batch(self) -> None:
        """Count one more batch."""
        self._done += 1

    def begin_tuning(self) -> None:
        """Begin to time a pass over the tuning images."""
        self._tuning_began = self._clock.now()

    def end_tuning(self) -> None:
        """Keep how long it took."""
        self._tuning_s = self._clock.now() - self._tuning_began

    def epoch_seconds(self) -> float:
        """Say how long the epoch has taken so far.

        Seconds.
        """
        return self._clock.now() - self._began

    def batch_seconds(self) -> float:
        """Say how long a batch of this epoch took.

        Seconds.
        """
        return self.epoch_seconds() / max(1, self._done)

    def seconds_left(self, batches: int, tuning_batches: int, passes: int) -> float:
        """Judge how long the run will take yet, if it is not stopped early.

        Seconds.
        """
        one = self.batch_seconds()
        tuning = self._tuning_s if self._tuning_s is not None else self.TUNING_SHARE * one * tuning_batches
        return batches * one + passes * tuning
