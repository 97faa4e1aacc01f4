"""Content of data sets, from their tables and the headers of their files, and the domain shift between data sets.

An area under the ROC curve (AUC) of 0.5 means that the sources are indistinguishable by the features, 1 that they are
separable. The classifier's advantage over guessing is the proxy distance between domains of Ben-David et al. 2010
(doi:10.1007/s10994-009-5152-4). It is measured for each family of features and for all together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.dataset import DatasetEntry, check_dataset_names, get_group_id, iter_entries
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.figures.page import markdown_row
from napari_melanoma.io.photographs import read_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray


COUNTED = (
    "source",
    "modality",
    "diagnosis",
    "target",
    "melanoma",
    "sex",
    "site",
    "fitzpatrick",
    "diagnosis_by",
    "split",
    "review",
)
DESCRIBED = ("patient_id", "lesion_id", "age", "diameter_1_mm", *COUNTED)
MAX_VALUES = 20  # values of a column listed in the report
NO_SPLIT, UNKNOWN_LABEL = "(none)", "(not known)"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One harmonized row of a data set: origin, group and files.

    ``source`` is that of the row, else the name of its folder; ``group`` names the patient, lesion or image that must
    not be in two splits.
    """

    values: dict[str, str]
    folder: str
    source: str
    group: str
    image: Path | None
    has_mask: bool


@dataclass(frozen=True)
class DataSetReport:
    """Content of a data set.

    ``rows`` counts all of its table, ``images`` those with a file; ``counts`` gives for each column how often each
    value occurs, the most frequent first; ``missing`` how many rows have no value in it; ``by_split`` the diagnoses of
    each split; ``age`` and ``megapixels`` the smallest, median and largest, empty if none is known;
    ``largest_group`` the number of images of the largest group; ``in_two_splits`` names groups in several splits;
    ``faults`` describes rows that could not be read; ``origin`` has source and license from ``source.json``.
    """

    name: str
    rows: int
    images: int
    masks: int
    patients: int
    lesions: int
    groups: int
    largest_group: int
    counts: dict[str, dict[str, int]]
    missing: dict[str, int]
    by_split: dict[str, dict[str, int]]
    age: tuple[float, ...]
    megapixels: tuple[float, ...]
    in_two_splits: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    origin: dict[str, object] = field(default_factory=dict)


def describe_dataset(folder: Path, *, run: RunContext) -> DataSetReport:
    """Describe a data set, harmonized."""
    rows, faults = read_report_rows([folder], run=run)
    images = [row.image for row in run.track(rows, "Reading sizes") if row.image is not None]
    return describe_rows(folder.name, rows, [read_image_size(image) for image in images], faults, read_origin(folder))


def read_report_rows(folders: Sequence[Path], *, run: RunContext) -> tuple[list[ReportRow], list[str]]:
    """Read the rows of data sets in their order, harmonized, including rows without an image; also returns faults."""
    check_dataset_names(folders)
    rows: list[ReportRow] = []
    faults: list[str] = []
    for folder in folders:
        harmonizer = Harmonizer()
        for entry in iter_entries(folder):
            run.check()
            if isinstance(entry, DatasetEntry):
                rows.append(_make_row(entry, harmonizer.harmonize_row(entry.row), folder.name))
            else:
                faults.append(str(entry))
    if not rows:
        raise DataSetError(
            f"no row can be used: {faults[0]} Check the data set: napari-melanoma data check {folders[0]}"
        )
    return rows, faults


def describe_rows(
    name: str,
    rows: Sequence[ReportRow],
    sizes: Iterable[tuple[int, int] | None] = (),
    faults: Sequence[str] = (),
    origin: Mapping[str, object] | None = None,
) -> DataSetReport:
    """Count the values of rows."""
    values = [row.values for row in rows]
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row.group].add(row.values.get("split", ""))
    return DataSetReport(
        name=name,
        rows=len(rows),
        images=sum(row.image is not None for row in rows),
        masks=sum(row.has_mask for row in rows),
        patients=len({(row.folder, row.values["patient_id"]) for row in rows if "patient_id" in row.values}),
        lesions=len(
            {(row.folder, v.get("patient_id"), v["lesion_id"]) for row in rows if "lesion_id" in (v := row.values)}
        ),
        groups=len(splits),
        largest_group=max(Counter(row.group for row in rows).values()),
        counts={column: _count_values(row.get(column, "") for row in values) for column in COUNTED},
        missing={column: sum(column not in row for row in values) for column in DESCRIBED},
        by_split=_count_by_split(values),
        age=min_median_max([float(row["age"]) for row in values if row.get("age")]),
        megapixels=min_median_max([width * height / 1e6 for width, height in filter(None, sizes)]),
        in_two_splits=tuple(sorted(group for group, names in splits.items() if len(names - {""}) > 1)),
        faults=tuple(faults),
        origin=dict(origin or {}),
    )


def read_origin(folder: Path) -> dict[str, object]:
    """Read the origin of a data set from ``source.json``; empty if there is none."""
    try:
        found = read_json(folder / "source.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def format_markdown(report: DataSetReport) -> str:
    """Write a report as Markdown."""
    without = "" if report.rows == report.images else f" {report.rows - report.images} rows have no image."
    lines = [f"# {report.name}", "", f"{report.images} images, {report.masks} with a mask.{without}"]
    lines.append(
        f"{report.patients} patients and {report.lesions} lesions are named; {report.groups} groups stay together in a "
        f"split, the largest has {report.largest_group} image{'' if report.largest_group == 1 else 's'}."
    )
    if report.in_two_splits:
        lines.append(f"{len(report.in_two_splits)} groups are in several splits, such as {report.in_two_splits[0]}.")
    if report.faults:
        lines.append(f"{format_count(len(report.faults), 'row')} could not be used, such as: {report.faults[0]}")
    for name in ("title", "licence", "url", "reference"):
        if report.origin.get(name):
            lines.append(f"{name.capitalize()}: {report.origin[name]}")
    for name, found, unit in (("Age", report.age, "years"), ("Size", report.megapixels, "megapixels")):
        if found:
            low, middle, high = found
            lines.append(f"{name}: {low:.3g} to {high:.3g} {unit}, median {middle:.3g}.")
    for column, counts in report.counts.items():
        if counts:
            lines += ["", f"## {column}", "", f"| {column} | images | % |", "|---|---|---|"]
            shown = [*list(counts.items())[:MAX_VALUES], (UNKNOWN_LABEL, report.missing[column])]
            lines += [markdown_row([value, str(n), f"{100 * n / report.rows:.1f}"]) for value, n in shown if n]
    lines += _format_cross_table(report)
    return "\n".join((*lines, ""))


def _make_row(entry: DatasetEntry, values: dict[str, str], folder: str) -> ReportRow:
    kept = {name: value for name, value in values.items() if value}
    source = kept.get("source") or folder
    group = f"{folder}/{get_group_id({**entry.row, **kept})}"
    return ReportRow(kept, folder, source, group, entry.image, entry.mask is not None)


def _format_cross_table(report: DataSetReport) -> list[str]:
    """Table of diagnoses by split; empty without splits."""
    splits = list(report.by_split)
    if splits == [NO_SPLIT]:
        return []
    names = list(dict.fromkeys(name for counts in report.by_split.values() for name in counts))
    lines = ["", "## diagnosis by split", "", markdown_row(["diagnosis", *splits]), f"|---|{'---|' * len(splits)}"]
    return [*lines, *(markdown_row([n, *(str(report.by_split[s].get(n, 0)) for s in splits)]) for n in names)]


def _count_by_split(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Count the diagnoses of each split."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found[row.get("split") or NO_SPLIT][row.get("diagnosis", UNKNOWN_LABEL)] += 1
    return {split: dict(counts.most_common()) for split, counts in sorted(found.items())}


def _count_values(values: Iterable[str]) -> dict[str, int]:
    """Count how often each value occurs, the most frequent first; empty cells are not counted."""
    return dict(Counter(value for value in values if value).most_common())


def min_median_max(values: Sequence[float]) -> tuple[float, ...]:
    """Return the smallest, median and largest value; empty if there is none."""
    return (min(values), median(values), max(values)) if values else ()


N_FOLDS = 5
MIN_PATIENTS = 10  # patients of a source: with fewer, a fold has hardly one
BOOTSTRAP_ROUNDS = 400
MAX_PAIRED_SOURCES = 5  # sources that are compared two by two; of more, each with all others
ALL_OTHERS = "all others"
ALL_FEATURES = "everything"


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with its 95 % interval: out-of-fold, bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class DomainShift:
    """How well two sources are separated: AUC for each family of features and for all, and for single features.

    ``feature_aucs`` gives the AUC of each feature alone, at least 0.5 for either direction, the largest first.
    With many correlated features, dropping a single one changes little, so this shows more than an ablation.
    """

    first: str
    second: str
    images: tuple[int, int]
    auc: dict[str, AucInterval]
    feature_aucs: tuple[tuple[str, float], ...]

    @property
    def family(self) -> str:
        """The first family of features that both sources have; pairs are sorted by it."""
        return next(iter(self.auc))


def measure_domain_shifts(
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    sources: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[list[DomainShift], list[str]]:
    """Measure how well sources are separated: in pairs, or each from all others if there are many.

    ``families``: name of a family to its features, each float (image,) with NaN where unknown. Returns the shifts,
    sorted by their first family and then by its AUC, the largest first, and descriptions of the sources with too few
    patients.
    """
    names, members = np.asarray(sources), np.asarray(groups)
    known = list(dict.fromkeys(sources))
    sizes = {name: len(set(members[names == name])) for name in known}
    left_out = [f"{name} ({sizes[name]} patients, lesions or images)" for name in known if sizes[name] < MIN_PATIENTS]
    enough = [name for name in known if sizes[name] >= MIN_PATIENTS]
    if len(enough) <= MAX_PAIRED_SOURCES:
        compared = [(first, second, [first, second]) for first, second in combinations(enough, 2)]
    else:
        compared = [(name, ALL_OTHERS, enough) for name in enough]
    shifts = []
    for first, second, taking_part in compared:
        taken = np.isin(names, taking_part)
        parts = {family: {k: v[taken] for k, v in found.items()} for family, found in families.items()}
        shifts.append(_measure_shift(first, second, parts, names[taken] == first, members[taken], seed))
    order = [*families, ALL_FEATURES]
    return sorted(shifts, key=lambda shift: (order.index(shift.family), -shift.auc[shift.family].value)), left_out


def bootstrap_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int = 0) -> AucInterval:
    """Area under the ROC curve with a bootstrap interval over groups, drawn within each class.

    ``scores``: float (image,): higher where ``truth`` is predicted. ``truth``: bool (image,). ``groups``: (image,): the
    patient of each; a patient in both classes is drawn in each of them independently.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(np.char.add(truth.astype("U1"), groups.astype(str)), return_inverse=True)
    of_class = np.zeros(index.max() + 1, bool)
    of_class[index] = truth
    parts = [np.flatnonzero(of_class == side) for side in (True, False)]
    found = []
    for _ in range(BOOTSTRAP_ROUNDS):
        weights = np.zeros(len(of_class))
        for part in parts:
            weights += np.bincount(rng.choice(part, len(part)), minlength=len(of_class))
        found.append(_weighted_auc(scores, truth, weights[index]))
    low, high = np.percentile(found, [2.5, 97.5])
    return AucInterval(_weighted_auc(scores, truth, np.ones(len(scores))), float(low), float(high))


def _weighted_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Weighted share of correctly ordered pairs, ties as one half."""
    _, level = np.unique(scores, return_inverse=True)
    right = np.bincount(level, weights * truth)
    wrong = np.bincount(level, weights * ~truth)
    below = np.cumsum(wrong) - wrong
    return float((right * (below + wrong / 2)).sum() / (right.sum() * wrong.sum()))


def _measure_shift(
    first: str,
    second: str,
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    truth: NDArray[np.bool_],
    groups: NDArray,
    seed: int,
) -> DomainShift:
    """Separate one source from another with each family, and with all."""
    usable = {family: _select_features(found, truth, groups) for family, found in families.items()}
    usable = {family: found for family, found in usable.items() if found}
    combined = {name: values for found in usable.values() for name, values in found.items()}
    auc = {}
    for family, found in (*usable.items(), (ALL_FEATURES, combined)):
        table = np.column_stack(list(found.values())) if found else np.zeros((len(truth), 1))
        known = np.isfinite(table).any(axis=1)  # imputed values alone would identify the source of an image without any
        sides = (truth[known], groups[known])
        auc[family] = bootstrap_auc(_out_of_fold_scores(table[known], *sides, seed), *sides, seed)
    alone = {name: _single_feature_auc(values, truth) for name, values in combined.items()}
    feature_aucs = tuple(sorted(alone.items(), key=lambda item: -item[1]))
    return DomainShift(first, second, (int(truth.sum()), int((~truth).sum())), auc, feature_aucs)


def _single_feature_auc(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """AUC of one feature over the images where it is known; at least 0.5 for either direction."""
    known = np.isfinite(values)
    found = _weighted_auc(values[known], truth[known], np.ones(int(known.sum())))
    return max(found, 1 - found)


def _select_features(
    found: Mapping[str, NDArray[np.float64]], truth: NDArray[np.bool_], groups: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Select features that enough patients of both sources have and that vary."""
    return {
        name: values
        for name, values in found.items()
        if all(len(set(groups[side & np.isfinite(values)])) >= MIN_PATIENTS for side in (truth, ~truth))
        and np.nanstd(values) > 0
    }


def _out_of_fold_scores(
    table: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int
) -> NDArray[np.float64]:
    """Cross-validated scores of a logistic regression, folds split by patient."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros(len(truth))
    for training, test in StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(table, truth, groups):
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(class_weight="balanced", max_iter=1000),
        ).fit(table[training], truth[training])
        scores[test] = model.decision_function(table[test])
    return scores
