"""Several texts in one line of a form, and back, whatever is in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORD = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(,|$)')


def split_words(text: str) -> tuple[str, ...]:
    """Read texts that stand in one line.

    Empty for an empty line.
    """
    words, at = [], 0
    while at < len(text):
        match = WORD.match(text, at)
        assert match is not None  # the second way matches anything
        quoted, plain, _ = match.groups()
        if quoted is not None:
            words.append(quoted.replace('""', '"'))
        elif plain.strip():
            words.append(plain.strip())
        at = match.end()
    return tuple(words)


def join_words(words: Sequence[str]) -> str:
    """Write texts into one line."""
    return ", ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if word and word == word.strip() and not set(word) & set(',"'):
        return word
    doubled = word.replace('"', '""')
    return f'"{doubled}"'
