"""Compare two values of plain Python and NumPy, and say where they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TypeGuard

import numpy as np

from golden.normalizing import varies

ATOL = 1e-9  # what rounding makes of a sum that is zero
LONGEST = 160


def differences(before: object, after: object, rtol: float, where: str = "") -> Iterator[str]:
    """Yield a line for each place where two values differ."""
    if _is_number(before) and _is_number(after):
        if not same_number(before, after, rtol):
            yield f"{where}: {before!r} became {after!r}"
    elif isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        yield from _of_arrays(before, after, rtol, where)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _of_mappings(before, after, rtol, where)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, rtol, where)
    elif type(before) is not type(after) or before != after:
        yield f"{where}: {_short(before)} became {_short(after)}"


def same_number(before: float, after: float, rtol: float) -> bool:
    """Whether two numbers are equal, for floats within the tolerance."""
    if isinstance(before, int) and isinstance(after, int):
        return before == after
    return math.isclose(before, after, rel_tol=rtol, abs_tol=ATOL) or (math.isnan(before) and math.isnan(after))


def _of_arrays(before: np.ndarray, after: np.ndarray, rtol: float, where: str) -> Iterator[str]:
    """Yield how two arrays differ: exactly for whole numbers, relative to the largest value for floats."""
    if before.shape != after.shape or before.dtype != after.dtype:
        yield f"{where}: {before.dtype} {before.shape} became {after.dtype} {after.shape}"
        return
    if np.issubdtype(before.dtype, np.floating):
        finite = before[np.isfinite(before)]
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        equal = np.isclose(before, after, rtol=rtol, atol=rtol * largest, equal_nan=True)
    else:
        equal = np.asarray(before == after)
    if not equal.all():
        first = tuple(int(index) for index in np.argwhere(~equal)[0])
        count = int(equal.size - equal.sum())
        yield f"{where}: {count} of {equal.size} values differ, first at {first}: {before[first]} became {after[first]}"


def _of_mappings(before: Mapping[str, object], after: Mapping[str, object], rtol: float, where: str) -> Iterator[str]:
    """Yield keys that are missing or new, and how the values of the others differ."""
    for key in before.keys() - after.keys():
        yield f"{where}.{key}: is missing, was {_short(before[key])}"
    for key in after.keys() - before.keys():
        yield f"{where}.{key}: is new, {_short(after[key])}"
    for key in before:
        if key in after and not varies(f"{where}.{key}", before[key]):
            yield from differences(before[key], after[key], rtol, f"{where}.{key}")


def _of_lists(before: Sequence[object], after: Sequence[object], rtol: float, where: str) -> Iterator[str]:
    """Yield how two lists differ; where their lengths differ, the entries that are missing or new."""
    if len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
            yield from differences(old, new, rtol, f"{where}[{_name(old) or number}]")
        return
    old_lines, new_lines = [*map(_constant, before)], [*map(_constant, after)]
    matcher = SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    for kind, low, high, first, last in matcher.get_opcodes():
        if kind != "equal":
            yield from (f"{where}[{low + n}]: - {_short(entry)}" for n, entry in enumerate(before[low:high], 1))
            yield from (f"{where}[{first + n}]: + {_short(entry)}" for n, entry in enumerate(after[first:last], 1))


def _name(entry: object) -> object:
    """Return the name of an entry that has one, such as a widget or a layer."""
    return entry.get("name") if isinstance(entry, dict) else None


def _constant(entry: object) -> str:
    """Return an entry as text, without the values of keys that vary."""
    if isinstance(entry, dict):
        entry = {key: value for key, value in entry.items() if not varies(str(key), value)}
    return repr(entry)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
