"""The history of a value that users edit: undo and redo of everything is this one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, TypeVar

Value = TypeVar("Value")
_STEPS = count(1)  # of all histories
MAX_PAST = 200  # steps that can be undone


def next_step() -> int:
    """Return the number of a step that is requested now."""
    return next(_STEPS)


@dataclass(frozen=True)
class History(Generic[Value]):
    """A value with its past and undone values, the latest last; each step returns a new history.

    ``steps``, ``undone_steps``: number of the step after each past and undone value, which orders steps of several
    histories.
    """

    current: Value
    past: tuple[Value, ...] = ()
    undone: tuple[Value, ...] = ()
    steps: tuple[int, ...] = field(default=(), compare=False)
    undone_steps: tuple[int, ...] = field(default=(), compare=False)

    def push(self, value: Value, step: int = 0) -> History[Value]:
        """Add a new value; this clears the undone values, and drops the earliest one beyond ``MAX_PAST``.

        ``step``: of ``next_step``, if it was requested earlier.
        """
        step = step if step > max(self.steps, default=0) else next_step()
        past, steps = (*self.past, self.current), (*self.steps, step)
        return History(value, past[-MAX_PAST:], steps=steps[-MAX_PAST:])

    def undo(self) -> History[Value]:
        """Undo one step; return the same history if there is none."""
        if not self.past:
            return self
        undone_steps = (*self.undone_steps, *self.steps[-1:])
        return History(self.past[-1], self.past[:-1], (*self.undone, self.current), self.steps[:-1], undone_steps)

    def redo(self) -> History[Value]:
        """Redo the last undone step; return the same history if there is none."""
        if not self.undone:
            return self
        steps = (*self.steps, *self.undone_steps[-1:])
        return History(self.undone[-1], (*self.past, self.current), self.undone[:-1], steps, self.undone_steps[:-1])

    def map_values(self, change: Callable[[Value], Value]) -> History[Value]:
        """Apply a change to all values, so that all steps are kept."""
        past, undone = tuple(map(change, self.past)), tuple(map(change, self.undone))
        return replace(self, current=change(self.current), past=past, undone=undone)
