"""What harmonising met: columns that are understood, words that are not, impossible values, ids that recur."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from napari_melanoma.data.table_schema import AS_GIVEN, column_named

MOST = 12  # words of one column that a line names


@dataclass(frozen=True)
class HarmoniseReport:
    """What was met in a table.

    Parameters
    ----------
    rows : int
        How many.
    columns : dict
        Their column to those of ours that it means.
    own : tuple of str
        Columns that stay under their own name.
    empty : tuple of str
        Columns of theirs in which no row says anything.
    known : dict
        Our column to how many rows say something there.
    unmapped : dict
        Our column to the words that were not understood, each with its count; they stand in ``<column>_as_given``.
    impossible : dict
        Likewise the values that cannot be, such as an age of 430.
    disagreements : dict
        A sentence about two columns that contradict each other to how many rows do; the first of them counts.
    duplicates : dict
        Each image_id that several rows have to how many.
    """

    rows: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    impossible: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    disagreements: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)

    def findings(self) -> Iterator[tuple[str, str]]:
        """Say what a person should look at.

        Yields
        ------
        about, said : str
            A column, and a sentence on it.
        """
        for column, words in self.unmapped.items():
            kept = f"{column}{AS_GIVEN}" if column_named(column) else column
            yield column, f"{_cells(words)} not understood and kept in {kept}: {listed(words)}"
        for column, words in self.impossible.items():
            yield column, f"{_cells(words)} impossible and kept in {column}{AS_GIVEN}: {listed(words)}"
        for said, rows in self.disagreements.items():
            yield "columns", f"{said} in {rows} row{'s' if rows > 1 else ''}; the first one counts"
        if self.duplicates:
            ids = f"{len(self.duplicates)} ids stand" if len(self.duplicates) > 1 else "1 id stands"
            yield "image_id", f"{ids} in several rows: {listed(self.duplicates)}"
        for column in self.empty:
            yield column, "no row says anything in this column"


def listed(counts: Mapping[str, int], most: int = MOST) -> str:
    """Name what was counted, the most frequent first.

    Parameters
    ----------
    counts : mapping
        Word to count.
    most : int
        How many are named.

    Returns
    -------
    str
        Such as ``'Hallux' (3), 'Glabella' (1) and 5 more``.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(f"'{word}' ({count})" for word, count in ordered[:most]) + more


class Tally:
    """Counts while rows go by; ``report`` gives what there is so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, tuple[str, ...]] = {}
        self._heard: set[str] = set()
        self._known: Counter[str] = Counter()
        self._faults: dict[str, dict[str, Counter[str]]] = {
            fault: defaultdict(Counter) for fault in ("unmapped", "impossible")
        }
        self._disagreements: Counter[str] = Counter()
        self._ids: set[str] = set()
        self._again: Counter[str] = Counter()

    def row(self, given: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Count a row.

        Parameters
        ----------
        given, found : mapping
            Its cells that say something, before and after.
        """
        self.rows += 1
        if len(self._heard) < len(self.columns):
            self._heard.update(given)
        self._known.update(found.keys())
        image_id = found.get("image_id", "")
        if image_id in self._ids:
            self._again[image_id] += 1
        elif image_id:
            self._ids.add(image_id)

    def count(self, faults: Iterable[tuple[str, str, str]], disagreements: Iterable[str]) -> None:
        """Count what was not understood.

        Parameters
        ----------
        faults : iterable of (str, str, str)
            ``unmapped`` or ``impossible``, column, text.
        disagreements : iterable of str
            Sentences.
        """
        for fault, column, text in faults:
            self._faults[fault][column][text] += 1
        self._disagreements.update(disagreements)

    def report(self) -> HarmoniseReport:
        """Give what was counted.

        Returns
        -------
        HarmoniseReport
            It does not change with later rows.
        """
        return HarmoniseReport(
            rows=self.rows,
            columns={theirs: ours for theirs, ours in self.columns.items() if ours},
            own=tuple(theirs for theirs, ours in self.columns.items() if not ours),
            empty=tuple(theirs for theirs, ours in self.columns.items() if self._silent(theirs, ours)),
            known=dict(self._known),
            unmapped={column: dict(words) for column, words in self._faults["unmapped"].items()},
            impossible={column: dict(words) for column, words in self._faults["impossible"].items()},
            disagreements=dict(self._disagreements),
            duplicates={image_id: 1 + again for image_id, again in self._again.items()},
        )

    def _silent(self, theirs: str, ours: tuple[str, ...]) -> bool:
        """Whether no row says anything in a column, or all say that nobody knows."""
        said = (theirs, *ours, *(f"{column}{AS_GIVEN}" for column in ours))
        return theirs not in self._heard or (bool(ours) and not any(column in self._known for column in said))


def _cells(words: Mapping[str, int]) -> str:
    """How many cells are meant."""
    count = sum(words.values())
    return f"{count} cell{'s are' if count > 1 else ' is'}"
