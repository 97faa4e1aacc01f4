"""Whether the rows of a data set say which patient they are of, and what suggests that patients are in both splits.

Images of one patient resemble each other: where some are trained on and others judged, the figures are too good.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.column_names import meanings, nearest
from napari_melanoma.data.harmonise_report import HarmoniseReport, toml_key

SPLIT_RISK = "images of one patient may then be in both training and test set"
NAMED = 3  # examples in a message
_LAST_PART = re.compile(r"^(?P<owner>.*\d.*?)(?:[ ._-]+[A-Za-z]*\d*|(?<=\d)[A-Za-z])$")
_FEWEST = 0.2  # share of all rows below which common beginnings are chance
_DEEPEST = 3  # last parts of a name that may tell the images of a patient apart
_LARGEST = 0.5  # share of all rows above which a common beginning is a prefix of the data set, and no patient
_DATE = re.compile(r"(19|20)\d\d[-_.]?[01]\d([-_.]?[0-3]\d)?")


def patients_note(
    named: int,
    images: int,
    report: HarmoniseReport,
    no_patients: bool,
    option: str = "--no-patients",
    unread: Sequence[str] = (),
    how: str = "",
) -> list[tuple[str, str]]:
    """Refuse a data set in which no row names a patient, unless the user has confirmed it.

    Notes: about what, and a sentence.
    """
    if 0 < named < images:
        return [("patient_id", f"{images - named} of {images} rows name no patient: {SPLIT_RISK}")]
    if named or not images:
        return []
    if no_patients:
        return [("patient_id", f"no row names a patient, as confirmed: {SPLIT_RISK}")]
    raise DataSetError(_no_patients(report, option, unread, how))


def _no_patients(report: HarmoniseReport, option: str, unread: Sequence[str], how: str) -> str:
    """Describe what was expected of the tables, what was found, and what to do."""
    found = list(report.columns) + list(report.own)
    listed = first_few(found, 12)
    if unread and not listed:
        return (
            f"expected a table with a column that names the patient of each image; {first_few(unread)} was not read. "
            f"Without patients {SPLIT_RISK}. {how[:1].upper()}{how[1:]}; if nothing is known of the patients, confirm "
            f"with {option}."
        )
    likely = next((theirs for theirs, ours in report.unrecognized.items() if ours == "patient_id"), "")
    if likely:
        advice = (
            f'if "{likely}" names the patient, map it with --map FILE ([columns] {toml_key(likely)} = "patient_id")'
        )
    else:
        advice = "add a column patient_id to the table, or map the column that names the patient with --map FILE"
    return (
        f"expected a column that names the patient of each image, found {listed or 'no table'}. Without it "
        f"{SPLIT_RISK}. {advice[:1].upper()}{advice[1:]}; if nothing is known of the patients, confirm with {option}."
    )


class PatientLeaks:
    """Finds patients who are probably in more than one split of a data set that does not name them.

    Two signs are looked for in rows without a ``patient_id``: a column with an unknown name that resembles that of a
    patient, and image names that begin alike and differ in their last part (``P012_a``, ``P012_b``).
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._columns: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._like_patient: dict[str, bool] = {}

    def row(self, row: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Take a row up."""
        if found.get("patient_id"):
            return
        split = found.get("split", "")
        if image_id := found.get("image_id"):
            self._names[image_id] = split
        for column, text in row.items():
            if column not in self._like_patient:
                self._like_patient[column] = not meanings(column) and nearest(column) == "patient_id"
            if text and self._like_patient[column]:
                self._columns[column][text].add(split)

    def findings(self) -> Iterator[tuple[str, str, bool]]:
        """Describe what was found.

        A column, and a sentence. Whether the patients are in several splits; else a later split may separate them.
        """
        for column, of_column in self._columns.items():
            yield self._finding(column, f"the column {column}", of_column, f'map it to patient_id ("{column}")')
        owners = owners_by_name(self._names)
        if owners and not self._columns:
            of_names = {owner: {self._names[name] for name in names} for owner, names in owners.items()}
            yield self._finding("image_id", "names that begin alike", of_names, "add a column patient_id")

    @staticmethod
    def _finding(about: str, what: str, owners: Mapping[str, set[str]], advice: str) -> tuple[str, str, bool]:
        parted = sorted(owner for owner, splits in owners.items() if len(splits - {""}) > 1)
        if not parted:
            said = f"{what} suggest {len(owners)} patients, but patient_id is empty: {advice} before you split"
            return about, said, False
        said = (
            f"probable patient leak: {what} suggest {len(owners)} patients, of whom {len(parted)} are in several splits"
        )
        return about, f"{said} ({first_few(parted)}); {advice} and split again", True


def owners_by_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Group image names that begin alike and differ in their last part or parts.

    Beginning to the names that have it, at least two each; of several possible beginnings those that group the most
    names. Empty where they group fewer than a fifth, or one groups more than half: then the names follow another rule
    (a running number, a date).
    """
    names = list(names)
    best: dict[str, list[str]] = {}
    owners = dict(zip(names, names, strict=True))
    for _ in range(_DEEPEST):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            match = _LAST_PART.match(owners[name])
            owners[name] = match["owner"] if match else ""
            if owners[name] and not _DATE.fullmatch(owners[name]):
                groups[owners[name]].append(name)
        found = {owner: group for owner, group in groups.items() if len(group) > 1}
        sizes = [len(group) for group in found.values()]
        enough = sum(sizes) >= max(len(names) * _FEWEST, 1 + sum(map(len, best.values())))
        if sizes and enough and max(sizes) <= max(2, _LARGEST * len(names)):
            best = found
    return best
