"""What harmonising met: columns that are understood, words that are not, impossible values, ids that recur."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from napari_melanoma.core.counting import first_few
from napari_melanoma.data.column_names import nearest
from napari_melanoma.data.table_schema import AS_GIVEN, column_named

MOST = 12  # words of one column that a line names
MOST_ROWS = 3  # rows that a line names
MAP_IT = 'if it is that, name a TOML file with --map that has the line {key} = "{ours}" below [columns]'
MOST_COMPARED = 200  # columns with an unknown name that are compared with the known ones


@dataclass(frozen=True)
class HarmoniseReport:
    """What was met in a table."""

    rows: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    impossible: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows_of: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    disagreements: Mapping[str, int] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)

    @property
    def unrecognized(self) -> dict[str, str]:
        """Columns with an unknown name, each with the column of ours that is nearest, "" where none is similar."""
        own = [name for name in self.own if name and not name.startswith("other_") and not name.endswith(AS_GIVEN)]
        return {name: nearest(name) if place < MOST_COMPARED else "" for place, name in enumerate(own)}

    def unrecognized_columns(
        self, fate: str = "kept under its own name, where nothing reads it", how: str = MAP_IT, near: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Name the columns that are not recognized, with the nearest known one and how to map them.

        A column, and a sentence on it.
        """
        others = []
        for theirs, ours in self.unrecognized.items():
            if ours and ours not in self.known:
                advice = how.format(key=toml_key(theirs), ours=ours)
                yield theirs, f"not recognized, so it is {fate}. The nearest known column is {ours}: {advice}"
            else:
                others.append(theirs)
        if others and not near:
            yield "columns", f"not recognized and {fate}: {first_few(others, MOST)}"

    def findings(self, kept_in: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
        """Describe what a user should review.

        A column, and a sentence on it.
        """
        for fault, said in (("unmapped", "not understood"), ("impossible", "impossible")):
            for column, words in getattr(self, fault).items():
                kept = (kept_in or {}).get(column) or (f"{column}{AS_GIVEN}" if column_named(column) else column)
                yield column, f"{_cells(words)} {said} and kept in {kept}: {self.cells(fault, column)}"
        for said, rows in self.disagreements.items():
            yield "columns", f"{said} in {rows} row{'s' if rows > 1 else ''}; the first one counts"
        if self.renamed:
            yield "image_id", renamed_note(self.renamed)
        if self.duplicates:
            ids = f"{len(self.duplicates)} ids stand" if len(self.duplicates) > 1 else "1 id stands"
            yield "image_id", f"{ids} in several rows: {listed(self.duplicates)}"
        for column in self.empty:
            yield column, "no row says anything in this column"

    def cells(self, fault: str, column: str) -> str:
        """List the cells of a column that were not understood, and the first rows that they are in.

        Such as ``'430' (1), '-5' (1); rows a, b``.
        """
        words, rows = getattr(self, fault)[column], self.rows_of.get(fault, {}).get(column, ())
        if not rows:
            return listed(words)
        others = sum(words.values()) - len(rows)
        more = f" and {others} more" if others else ""
        return f"{listed(words)}; row{'s' if len(rows) > 1 or more else ''} {', '.join(rows)}{more}"


def renamed_note(renamed: Mapping[str, str]) -> str:
    """Describe ids that were changed.

    How many, and the first of them.
    """
    shown = ", ".join(f"{old!r} is now {new!r}" for old, new in list(renamed.items())[:MOST_ROWS])
    more = f" and {len(renamed) - MOST_ROWS} more" if len(renamed) > MOST_ROWS else ""
    ids = "1 id was" if len(renamed) == 1 else f"{len(renamed)} ids were"
    return f"{ids} changed, because an id must not name a path and must be a file name: {shown}{more}"


def toml_key(name: str) -> str:
    """Write the name of a column as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def listed(counts: Mapping[str, int], most: int = MOST) -> str:
    """Name what was counted, the most frequent first.

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
        self._rows_of: dict[str, dict[str, list[str]]] = {fault: defaultdict(list) for fault in self._faults}
        self._disagreements: Counter[str] = Counter()
        self._renamed: dict[str, str] = {}
        self._ids: set[str] = set()
        self._again: Counter[str] = Counter()

    def row(
        self, given: Mapping[str, str], found: Mapping[str, str], faults: Iterable[tuple[str, str, str]] = ()
    ) -> None:
        """Count a row."""
        self.rows += 1
        if len(self._heard) < len(self.columns):
            self._heard.update(given)
        self._known.update(found.keys())
        image_id = found.get("image_id", "")
        if image_id in self._ids:
            self._again[image_id] += 1
        elif image_id:
            self._ids.add(image_id)
        for fault, column, text in faults:
            self._faults[fault][column][text] += 1
            rows = self._rows_of[fault][column]
            if len(rows) < MOST_ROWS:
                rows.append(image_id or str(self.rows))

    def count_disagreements(self, disagreements: Iterable[str]) -> None:
        """Count columns that contradict each other."""
        self._disagreements.update(disagreements)

    def rename(self, given: str, found: str) -> None:
        """Note an id that was changed."""
        self._renamed[given] = found

    def report(self) -> HarmoniseReport:
        """Give what was counted."""
        return HarmoniseReport(
            rows=self.rows,
            columns={theirs: ours for theirs, ours in self.columns.items() if ours},
            own=tuple(theirs for theirs, ours in self.columns.items() if not ours),
            empty=tuple(theirs for theirs, ours in self.columns.items() if self._silent(theirs, ours)),
            known=dict(self._known),
            unmapped={column: dict(words) for column, words in self._faults["unmapped"].items()},
            impossible={column: dict(words) for column, words in self._faults["impossible"].items()},
            rows_of={
                fault: {column: tuple(rows) for column, rows in of_columns.items()}
                for fault, of_columns in self._rows_of.items()
            },
            disagreements=dict(self._disagreements),
            renamed=dict(self._renamed),
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
