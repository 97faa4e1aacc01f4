"""The photographs of a review with what is known of each, and their order; columns of numbers, for there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.workflows.rating_cache import Known

State = Literal["to do", "accepted", "corrected", "rejected", "unreadable"]
STATES: tuple[State, ...] = ("to do", "accepted", "corrected", "rejected", "unreadable")
TO_DO, UNREADABLE = 0, 4
LAST = np.iinfo(np.uint16).max  # where what was not rated yet stands in the order
WORDS: dict[str, tuple[tuple[float, str], ...]] = {
    "entropy": ((0.15, "sure"), (0.25, "fairly sure"), (0.4, "unsure"), (2.0, "very unsure")),
    "disagreement": ((0.05, "sure"), (0.12, "fairly sure"), (0.25, "unsure"), (2.0, "very unsure")),
}


class ReviewItems:
    """A column for each thing that is known; an item is known by its number, which never changes."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = list(paths)
        self.scores = np.full(len(self.paths), np.nan, np.float32)
        self.states = np.zeros(len(self.paths), np.uint8)
        self.empty: set[int] = set()  # the model found no lesion
        self.refusals: dict[int, str] = {}
        self._digests: dict[int, str] = {}
        self._by_digest: dict[str, list[int]] = {}
        self._reviews: Mapping[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def rate(self, item: int, known: Known) -> None:
        """Take what the model says of a photograph."""
        self.scores[item] = known.score
        if not known.lesion_found:
            self.empty.add(item)
        self.know(item, known.image_sha256)

    def know(self, item: int, image_digest: str) -> None:
        """Take the fingerprint of a photograph's pixels, by which the corrections know it."""
        if self._digests.get(item) != image_digest:
            self._digests[item] = image_digest
            self._by_digest.setdefault(image_digest, []).append(item)
        self.states[item] = self._state(self._reviews.get(image_digest))

    def refuse(self, item: int, why: str) -> None:
        """Take that a file cannot be read."""
        self.refusals[item] = why
        self.states[item] = UNREADABLE

    def review(self, reviews: Mapping[str, str]) -> None:
        """Take what the corrections say of photographs.

        ``reviews``: review state by the fingerprint of the pixels.
        """
        for digest in {*self._reviews, *reviews}:
            for item in self._by_digest.get(digest, ()):
                self.states[item] = self._state(reviews.get(digest))
        self._reviews = dict(reviews)

    def unrate(self) -> None:
        """Forget all scores, because another model or another way rates."""
        self.scores[:] = np.nan
        self.empty.clear()

    def unrated(self) -> list[int]:
        """List what is still to be rated.

        In the order of the folder; what cannot be read is left out.
        """
        return np.flatnonzero(np.isnan(self.scores) & (self.states != UNREADABLE)).tolist()

    def order(self, to_do: bool, pinned: tuple[int, int] | None = None) -> NDArray[np.intp]:
        """Give the items with the most unsure first; then what was not rated, then what cannot be read.

        Item numbers, by row.
        """
        places = np.where(np.isnan(self.scores), LAST, (LAST - 2) * (1 - np.nan_to_num(self.scores)).clip(0, 1))
        places[self.states == UNREADABLE] = LAST
        found = np.argsort(places.astype(np.uint16), kind="stable")  # of this kind of number it is done in a moment
        if to_do:
            found = found[self.states[found] == TO_DO]
        if pinned is None or not (there := np.flatnonzero(found == pinned[0])).size:
            return found
        return np.insert(np.delete(found, there), min(pinned[1], len(found) - 1), pinned[0])

    def in_words(self, item: int, how: str) -> str:
        """Say how unsure the model is of a photograph."""
        score = float(self.scores[item])
        if item in self.refusals:
            return "cannot be read"
        if np.isnan(score):
            return "not rated yet"
        if item in self.empty:
            return "no lesion found"
        return f"{next(word for below, word in WORDS[how] if score < below)} {score:.2f}"

    def counts(self) -> dict[State, int]:
        """Count the items of each state.

        Every state, 0 where there is none.
        """
        counted = np.bincount(self.states, minlength=len(STATES))
        return {state: int(count) for state, count in zip(STATES, counted, strict=True)}

    @staticmethod
    def _state(review: str | None) -> int:
        return STATES.index(review) if review in ("accepted", "corrected", "rejected") else TO_DO
