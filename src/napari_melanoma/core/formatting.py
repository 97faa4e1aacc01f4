"""Format counts, names, durations and objects for messages."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

MAX_NAMED = 3  # names that a message lists
OF_NAMES = re.compile(r"[\d_./\\'\"=<]")  # characters of file names, keys, options and quoted names


def capitalize(text: str) -> str:
    """Start a message with a capital letter, unless its first word is a name, such as ``a.jpg``."""
    is_name = OF_NAMES.search(text.partition(" ")[0].rstrip(".,:;"))
    return text if is_name else f"{text[:1].upper()}{text[1:]}"


def shorten_name(name: str, letters: int = 24) -> str:
    """Cut a long name in the middle, as names often differ only at their end."""
    half = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"


def to_sentence(text: str) -> str:
    """Start a text with a capital letter and end it with a full stop; empty for an empty text."""
    return f"{capitalize(text).rstrip('.')}." if text else ""


def format_count(count: int, noun: str) -> str:
    """Format a count: ``1 image``, ``2 images``, ``3 boxes``."""
    plural = "es" if noun.endswith(("s", "x", "sh", "tch", "nch")) else "s"  # "epochs": only some nouns in "ch"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def format_names(names: Collection[object], max_names: int = MAX_NAMED) -> str:
    """List the first of several names: ``a, b, c and 4 more``."""
    first = ", ".join(str(name) for name in list(names)[:max_names])
    return f"{first} and {len(names) - max_names:,} more" if len(names) > max_names else first


def rank_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Order counts from the largest, equal counts by their names: ``Counter.most_common`` keeps the order of rows."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def format_share(share: float) -> str:
    """Format a share as percent with two significant digits; ``0 %`` and ``100 %`` are exactly none and all."""
    percent = 100 * share
    text = f"{percent:.0f}" if percent >= 9.95 else f"{percent:.2g}"
    if text == "100" and share < 1:
        text = f"{100 - float(f'{100 - percent:.1g}'):.10g}"
    return f"{text} %"


def format_significant(value: float, digits: int = 3) -> str:
    """Format a number with significant digits: ``0.0123``, ``12.3``, ``1,234`` and not ``1.23e+03``."""
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def format_small(value: float) -> str:
    """Format a number with two decimal digits, and below 0.1 with three significant ones: ``1.00``, ``0.00234``."""
    return f"{value:.2f}" if not value or abs(value) >= 0.1 else f"{value:.3g}"


def count_digits(value: float, limit: float, least: int = 2, most: int = 6) -> int:
    """Return the number of decimal digits that distinguishes a value from its limit; ``least`` if they are equal."""
    if value == limit:
        return least
    return next((count for count in range(least, most) if f"{value:.{count}f}" != f"{limit:.{count}f}"), most)


def distinct_names(paths: Collection[Path]) -> dict[Path, str]:
    """Return a short distinct name for each path: its last part, with as many parent folders as are necessary."""
    names, depth = {path: path.name for path in paths}, 1
    while True:
        counts = Counter(names.values())
        longer = [path for path, name in names.items() if counts[name] > 1 and len(path.parts) > depth]
        if not longer:
            return names
        depth += 1
        names |= {path: Path(*path.parts[-depth:]).as_posix() for path in longer}


def format_duration(seconds: float) -> str:
    """Format a duration, such as ``40 s``, ``6 min``, ``2 h 10 min``, ``30 h`` or ``3 days``; ``unknown`` for NaN."""
    if not math.isfinite(seconds):
        return "unknown"
    seconds = round(seconds)
    if seconds < 90:
        return f"{max(0, seconds)} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 600 and minutes % 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"


def format_estimated_duration(seconds: float) -> str:
    """Format an estimated duration, rounded to 5 s, from 90 s on to minutes, and from an hour on to 10 minutes."""
    if seconds >= 3600:
        return format_duration(600 * round(seconds / 600))
    return format_duration(max(5, 5 * round(seconds / 5)) if seconds < 90 else seconds)


def format_time_ago(seconds: float) -> str:
    """Format a time span, such as ``2 minutes ago``."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{format_count(count, unit)} ago"
    return "a moment ago"


def format_repr(value: object, **fields: object) -> str:
    """Format the representation of an object as its type and selected fields; numbers are shortened."""
    return f"{type(value).__name__}({', '.join(f'{name}={_shorten(field)}' for name, field in fields.items())})"


def _shorten(value: object) -> str:
    match value:
        case float():
            return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
        case dict():
            return f"{{{', '.join(f'{key!r}: {_shorten(item)}' for key, item in value.items())}}}"
        case (float(), *_):
            return f"({', '.join(map(_shorten, value))})"
    return repr(value)


@lru_cache(maxsize=1024)  # files repeat few names a million times
def format_class(name: str) -> str:
    """Format the name of a class for users: *naevus* in files and models becomes *nevus*."""
    return re.sub(r"(?<=n)ae(?=v(us|i)\b)", "e", name, flags=re.IGNORECASE)
