"""Result of an integrity check, and messages shared by all checks."""

from __future__ import annotations

from dataclasses import dataclass

from napari_melanoma.core.errors import UnreadableImage


class NothingDecoded(UnreadableImage):
    """No part of an image could be decoded."""


@dataclass(frozen=True)
class IntegrityCheck:
    """Bytes for the decoder, and what is missing or corrupt; ``damage`` is None for an intact image."""

    content: bytes
    damage: str | None = None


def describe_missing_rows(decoded: int, rows: int) -> str:
    """Describe how much of a picture is missing."""
    if decoded <= 0:
        raise NothingDecoded(f"is damaged: none of its {rows} rows could be decoded. Copy or export it again.")
    lost = _percent(rows - decoded, rows)
    return f"{lost} of the picture is missing: {min(decoded, rows)} of {rows} rows could be decoded"


def describe_missing_bytes(found: int, expected: int) -> str:
    """Describe how much of the compressed data is missing, where rows cannot be counted.

    ``found``, ``expected``: bytes.
    """
    if found <= 0:
        raise NothingDecoded("is damaged: none of the data of its picture were found. Copy or export it again.")
    lost = _percent(expected - found, expected)
    return f"{lost} of its compressed data are missing ({found} of {expected} bytes were found)"


def _percent(lost: int, whole: int) -> str:
    """A share in percent, at least "less than 1 %"."""
    share = 100 * lost / whole
    return "less than 1 %" if share < 1 else f"{share:.0f} %"
