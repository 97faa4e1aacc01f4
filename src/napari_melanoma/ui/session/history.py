"""The history of a value that users edit: undo and redo of everything is this one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class History(Generic[Value]):
    """A value with its past and undone values, the latest last; each step returns a new history."""

    current: Value
    past: tuple[Value, ...] = ()
    undone: tuple[Value, ...] = ()

    def push(self, value: Value) -> History[Value]:
        """Add a new value; this clears the undone values."""
        return History(value, (*self.past, self.current))

    def undo(self) -> History[Value]:
        """Undo one step; return the same history if there is none."""
        return History(self.past[-1], self.past[:-1], (*self.undone, self.current)) if self.past else self

    def redo(self) -> History[Value]:
        """Redo the last undone step; return the same history if there is none."""
        return History(self.undone[-1], (*self.past, self.current), self.undone[:-1]) if self.undone else self

    def map_values(self, change: Callable[[Value], Value]) -> History[Value]:
        """Apply a change to all values, so that all steps are kept."""
        return History(change(self.current), tuple(map(change, self.past)), tuple(map(change, self.undone)))
