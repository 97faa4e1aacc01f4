"""What each part of what is known adds to an answer: Shapley values, exact, from the answers without each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import factorial

Known = frozenset[str]


def coalitions(parts: Sequence[str]) -> tuple[Known, ...]:
    """List every choice of parts, the empty one first."""
    return tuple(frozenset(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size))


def shares(answers: Mapping[Known, float], parts: Sequence[str]) -> dict[str, float]:
    """Share the difference between knowing all parts and knowing none out among the parts.

    The mean of what a part adds over all orders in which parts may become known (Shapley 1953,
    doi:10.1515/9781400881970-018).

    Part to its share; they add up to the answer with all parts less the one with none.
    """
    count, found = len(parts), dict.fromkeys(parts, 0.0)
    for part in parts:
        for known in coalitions([one for one in parts if one != part]):
            orders = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
            found[part] += orders * (answers[known | {part}] - answers[known])
    return found


def answers_of(parts: Sequence[str], answer: Callable[[Known], float]) -> dict[Known, float]:
    """Ask for the answer to every choice of parts."""
    return {known: answer(known) for known in coalitions(parts)}
