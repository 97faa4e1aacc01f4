"""Which split a photograph gets as it comes into the corrections: written down once, so that nothing moves it later.

A fate that is worked out anew at each training would change with whatever else is in the table, and a model would be
judged on images that the one before it has learnt from.
"""

from __future__ import annotations

from collections.abc import Iterable

from napari_melanoma.data.change_log import Row
from napari_melanoma.data.dataset import owner_of

LEARNT, JUDGED = "train", "val"
BEFORE_THE_FIRST, BETWEEN = 3, 4  # patients who are learnt from: the 4th, the 9th, the 14th ... patient judges


class SplitChoice:
    """The splits of the patients of a table, by whatever name keeps their images together."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._known: dict[str, str] = {}
        self._wait = BEFORE_THE_FIRST
        for row in rows:
            self.note(row)

    def note(self, row: Row) -> None:
        """Take up a row of the table."""
        owner, split = owner_of(row), row.get("split", "")
        if not self._known.get(owner) and split in (LEARNT, JUDGED):
            self._wait = BETWEEN if split == JUDGED else self._wait - 1
        self._known[owner] = self._known.get(owner) or split

    def of(self, row: Row, before: Row | None) -> str:
        """Choose the split of a row that is written.

        What the row has, or what its patient has where that is another than before; of a new patient ``"train"``, or
        ``"val"`` for about every fifth. A patient whose images name no split (an older table) stays without.
        """
        owner = owner_of(row)
        if before is not None:
            kept = before.get("split", "")
            return kept if owner_of(before) == owner else self._known.get(owner) or kept
        if owner in self._known:
            return self._known[owner]
        return LEARNT if self._wait > 0 else JUDGED
