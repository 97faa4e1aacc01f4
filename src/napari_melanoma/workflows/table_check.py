"""What a table says by itself, without its images: words, values, splits, and what nobody filled in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.dataset import owner_of
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.harmonise_report import HarmoniseReport, listed
from napari_melanoma.data.patients import SPLIT_RISK, PatientLeaks
from napari_melanoma.data.table_file import each_table_row
from napari_melanoma.data.table_schema import AS_GIVEN

NONE = "(none)"
STEP = 5000  # rows between two reports
NAMED = 3  # patients or rows that a note names

Finding = tuple[str, str]


class TableCheck:
    """Looks at rows that go by; a large table need not be in memory."""

    def __init__(self) -> None:
        self._harmoniser = Harmoniser()
        self._groups: dict[str, set[str]] = defaultdict(set)
        self._split_of: dict[str, str] = {}
        self._same: dict[str, str] = {}
        self._folds: dict[str, set[str]] = defaultdict(set)
        self._splits: Counter[str] = Counter()
        self._diagnoses: Counter[str] = Counter()
        self._set_aside: dict[str, Counter[str]] = defaultdict(Counter)
        self._leaks = PatientLeaks()
        self._named_patients = 0
        self._without_patient: list[str] = []

    @property
    def splits(self) -> dict[str, int]:
        """How many rows each split has, the most frequent first."""
        return dict(self._splits.most_common())

    @property
    def diagnoses(self) -> dict[str, int]:
        """How many rows each diagnosis has, in our words, the most frequent first."""
        return dict(self._diagnoses.most_common())

    @property
    def report(self) -> HarmoniseReport:
        """What harmonising the rows would meet."""
        return self._harmoniser.report()

    @property
    def groups(self) -> int:
        """How many patients, lesions or pictures there are that must stay on one side of a split."""
        return len(self._groups)

    def row(self, row: Mapping[str, str]) -> dict[str, str]:
        """Look at a row.

        Returns the row in our columns and words, without what was set aside.
        """
        found = self._harmoniser.row({column: text for column, text in row.items() if not self._aside(column, text)})
        self._leaks.row(row, found)
        if found.get("patient_id"):
            self._named_patients += 1
        else:
            self._without_patient.append(found.get("image_id") or str(self._splits.total() + 1))
        split = found.get("split", NONE)
        self._splits[split] += 1
        self._diagnoses[found.get("diagnosis", NONE)] += 1
        if "image_id" in found:
            self._groups[owner_of(found)].add(split)
            if split != NONE:
                self._split_of[found["image_id"]] = split
            if other := found.get("near_duplicate_of"):
                self._same[found["image_id"]] = other
            if fold := found.get("fold"):
                self._folds[owner_of(found)].add(fold)
        return found

    def _aside(self, column: str, text: str) -> bool:
        """Count what an earlier look did not understand and set aside: it is worth knowing, and no fault any more."""
        if text and column.endswith(AS_GIVEN):
            self._set_aside[column][text] += 1
        return column.endswith(AS_GIVEN)

    def faults(self) -> Iterator[Finding]:
        """Say what is wrong.

        A patient, lesion or column, and a sentence.
        """
        for what, of_group in (("split", self._groups), ("fold", self._folds)):
            for group, parts in of_group.items():
                if len(named := parts - {NONE}) > 1:
                    yield group, f"is in more than one {what}: {', '.join(sorted(named))}"
        for image, other in self._same.items():
            splits = [self._split_of[one] for one in (image, other) if one in self._split_of]
            if len({*splits}) > 1:
                yield image, f"shows the same as {other}, but is in another split ({' and '.join(splits)})"
        yield from ((about, said) for about, said, leaks in self._leaks.findings() if leaks)
        report = self.report
        if report.duplicates:
            yield "image_id", f"each row needs an id of its own; found several times: {listed(report.duplicates)}"
        for column, values in report.impossible.items():
            yield column, f"impossible in {_rows(sum(values.values()))}: {report.cells('impossible', column)}"

    def notes(self) -> Iterator[Finding]:
        """Say what is worth knowing.

        A column, and a sentence.
        """
        yield from ((about, said) for about, said, leaks in self._leaks.findings() if not leaks)
        if (lacking := self._without_patient) and self._named_patients:
            lack = (
                f"{len(lacking)} of {len(lacking) + self._named_patients} rows name no patient ({first_few(lacking)})"
            )
            yield "patient_id", f"{lack}: {SPLIT_RISK}; fill it in, or leave these rows out of training"
        report = self.report
        if partly := [group for group, parts in self._groups.items() if NONE in parts and len(parts) == 2]:
            yield "split", f"said of some rows and not of others, {_of(partly)}: data split gives these the same one"
        for column, words in report.unmapped.items():
            yield column, f"not understood in {_rows(sum(words.values()))}: {report.cells('unmapped', column)}"
        for column, texts in self._set_aside.items():
            yield column, f"set aside in {_rows(texts.total())}: {listed(texts)}"
        for said, rows in report.disagreements.items():
            yield "columns", f"{said} in {_rows(rows)}"
        if report.empty:
            yield "columns", f"no row says anything in {', '.join(report.empty)}"


def check_rows(table: Path, check: TableCheck, run: RunContext) -> Iterator[dict[str, str]]:
    """Look at the rows of a table alone."""
    for count, row in enumerate(each_table_row(table), start=1):
        if count % STEP == 0:
            run.check()
            run.report(Progress(count, None, "Reading rows"))
        yield check.row(row)


def _of(groups: Sequence[str]) -> str:
    """Of whom something is said, a few by name."""
    many = len(groups) > NAMED
    named = f"such as {', '.join(groups[:NAMED])}" if many else ", ".join(groups)
    return f"of {len(groups)} patients, lesions or pictures {named}" if len(groups) > 1 else f"of {named}"


def _rows(count: int) -> str:
    """So many rows."""
    return f"{count} row{'s' if count > 1 else ''}"
