"""The first lines of a result: a headline, and the parts of a gray line below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_melanoma.core.formatting import capitalize

Tone = Literal["neutral", "alert", "invalid"]


@dataclass(frozen=True)
class Headline:
    """A headline, and the parts of the gray line below it, the most important one first; all without a full stop.

    ``tone``: ``alert`` above a decision threshold, ``invalid`` for results that are not valid; there is no tone of
    reassurance. ``detail``: intervals and other numbers, shown on request, in sentences; may be empty.
    """

    text: str
    parts: tuple[str, ...] = ()
    tone: Tone = "neutral"
    detail: str = ""

    @property
    def statement(self) -> str:
        """Headline and parts as sentences, for reports and the command line; without the last full stop."""
        return ". ".join(capitalize(text).rstrip(".") for text in (self.text, *self.parts) if text)
