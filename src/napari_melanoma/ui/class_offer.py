"""What data sets have to offer a classifier: columns that can be told, columns that can be inputs; read in a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.core.tabular import TabularChoices

MOST_CLASSES = 12
YES = ("1", "1.0", "true", "yes")
EITHER = (*YES, "0", "0.0", "false", "no")


@dataclass(frozen=True)
class Offer:
    """Columns of the tables.

    ``targets`` is each column that can be told, with its classes and their rows; ``inputs`` are columns that a network
    may get, ``refused`` says of others why not, and ``choices`` how each input is encoded.
    """

    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    choices: TabularChoices | None = None

    def chosen(self, names: Sequence[str]) -> TabularChoices | None:
        """Give the encoding of some columns.

        None where no column is named.
        """
        if self.choices is None or not names:
            return None
        kept = {part: tuple(c for c in getattr(self.choices, part) if c.name in names) for part in ("numbers", "words")}
        return self.choices.model_copy(update=kept)


def read_offer(folders: Sequence[str], target: str, run: RunContext) -> Offer:
    """Read the tables of data sets."""
    from napari_melanoma.data.dataset import Entry, each_entry
    from napari_melanoma.data.features.choices import choices_for, eligible
    from napari_melanoma.data.features.leaks import why_not

    rows: list[dict[str, str]] = []
    for folder in folders:
        run.check()
        rows += [entry.row for entry in each_entry(Path(folder).expanduser()) if isinstance(entry, Entry)]
    columns = dict.fromkeys(name for row in rows for name in row)
    targets = {name: found for name in columns if (found := classes_in(rows, name))}
    inputs = tuple(name for name in eligible(rows, target) if name != target)
    why = {name: why_not(name, target) for name in columns if name not in inputs}
    refused = {name: said for name, said in why.items() if said and name in targets}
    return Offer(targets, inputs, refused, choices_for(inputs, rows) if inputs else None)


def classes_in(rows: Sequence[Mapping[str, str]], column: str) -> dict[str, int]:
    """Count the classes of a column.

    Class to rows, the most frequent first; empty where it is no column of classes. Of 1 and 0 the classes are ``other``
    and the column's name.
    """
    found = Counter(word for row in rows if (word := (row.get(column) or "").strip()) and word.lower() != "unknown")
    if not 2 <= len(found) <= MOST_CLASSES or sum(found.values()) < 2 * len(found):
        return {}
    if {word.lower() for word in found} <= set(EITHER):
        yes = sum(count for word, count in found.items() if word.lower() in YES)
        return dict(Counter({column: yes, "other": sum(found.values()) - yes}).most_common())
    if all(_is_number(word) for word in found):
        return {}
    return dict(found.most_common())


def positive_of(classes: Mapping[str, int], target: str, before: str) -> str:
    """Choose the class that sensitivity is about.

    Otherwise the column's own name, melanoma, or the rarest class.
    """
    wanted = (before, target, "melanoma")
    return next((name for name in wanted if name in classes), min(classes, key=lambda name: classes[name], default=""))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
