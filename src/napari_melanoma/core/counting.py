"""Counts in words: one slide, two slides."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """Count something.

    Such as ``1 image`` or ``2 images``.
    """
    plural = "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{'' if count == 1 else plural}"
