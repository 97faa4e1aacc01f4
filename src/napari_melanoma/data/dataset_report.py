"""Describe the content of data sets, from their tables and file headers, and the domain shift between their sources.

The domain shift is measured by a classifier that separates the images of two sources by a family of features, or by all
features. An area under the ROC curve (AUC) of 0.5 means that the features do not distinguish the sources, 1 that they
separate them. How far the classifier is above chance measures the distance between the domains, as in Ben-David et al.
2010 (doi:10.1007/s10994-009-5152-4).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count, rank_counts
from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.dataset import IMAGE_SUFFIXES, DatasetEntry, check_distinct_datasets, iter_entries
from napari_melanoma.data.groups import Groups, Node, normalize_patient
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.row_values import read_text
from napari_melanoma.figures.page import markdown_row
from napari_melanoma.io.photographs import read_image_size

# Columns whose values are counted
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
# Columns whose missing values are counted
DESCRIBED = ("patient_id", "lesion_id", "age", "diameter_1_mm", *COUNTED)
MAX_VALUES = 20  # values of a column listed in the report
NO_SPLIT, UNKNOWN_LABEL = "(none)", "(not known)"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One harmonized row of a data set.

    ``values`` maps columns to values that are not empty; ``folder`` is the name of the data set; ``source`` is the
    public set that the row names, else ``folder``; ``group`` is the patient, lesion or image that must not be in two
    splits; ``patient`` and ``lesion`` identify those of the data set, "" and None if unknown.
    """

    values: dict[str, str]
    folder: str
    source: str
    group: str
    image: Path | None
    has_mask: bool
    patient: str = ""
    lesion: tuple[str, str] | None = None


@dataclass(frozen=True)
class DataSetReport:
    """Content of a data set.

    ``rows`` counts the usable rows of the table, ``images`` and ``masks`` those with such a file; ``patients`` and
    ``lesions`` count the named ones, ``groups`` the images or sets of images that must stay in one split, and
    ``largest_group`` the rows of the largest. ``counts`` maps each column to its values and how often they occur, the
    most frequent first; ``missing`` maps each column to the number of rows without a value; ``by_split`` maps each
    split to the counts of its diagnoses. ``age`` (years) and ``megapixels`` are the smallest, median and largest
    value, empty if none is known. ``in_two_splits`` lists groups in several splits; ``faults`` describes rows that
    could not be used; ``origin`` is the content of ``source.json``, such as source and license.
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
    """Describe a data set; its rows are harmonized first."""
    rows, faults = read_report_rows([folder], run=run)
    images = [row.image for row in run.track(rows, "Reading sizes") if row.image is not None]
    return describe_rows(folder.name, rows, [read_image_size(image) for image in images], faults, read_origin(folder))


def read_report_rows(folders: Sequence[Path], *, run: RunContext) -> tuple[list[ReportRow], list[str]]:
    """Read and harmonize the rows of data sets, including rows without an image; also returns faults as texts."""
    check_distinct_datasets(folders)
    rows: list[ReportRow] = []
    faults: list[str] = []
    for folder in folders:
        harmonizer, groups = Harmonizer(), Groups()
        of_folder: list[tuple[Node, ReportRow]] = []
        for entry in iter_entries(folder):
            run.check()
            if isinstance(entry, DatasetEntry):
                values = {name: text for name, text in harmonizer.harmonize_row(entry.row).items() if text}
                node = groups.add({**entry.row, **values})
                source = values.get("source") or folder.name
                if Path(source).suffix.lower() in IMAGE_SUFFIXES:  # of corrections: the file of the photograph
                    source = values["source"] = folder.name
                patient = normalize_patient(read_text(values, "patient_id"))
                row = ReportRow(values, folder.name, source, "", entry.image, entry.mask is not None, patient)
                of_folder.append((node, row))
            else:
                faults.append(str(entry))
        rows += [
            replace(row, group=f"{folder.name}/{groups.find(node).name}", lesion=groups.find_lesion(row.values))
            for node, row in of_folder
        ]
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
    """Describe the harmonized rows of a data set.

    ``sizes``: width and height of each image in pixels, None where unknown.
    """
    values = [row.values for row in rows]
    splits: dict[str, set[str]] = defaultdict(set)
    by_split: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        splits[row.group].add(row.values.get("split", ""))
        by_split[row.values.get("split") or NO_SPLIT][row.values.get("diagnosis", UNKNOWN_LABEL)] += 1
    return DataSetReport(
        name=name,
        rows=len(rows),
        images=sum(row.image is not None for row in rows),
        masks=sum(row.has_mask for row in rows),
        patients=len({(row.folder, row.patient) for row in rows if row.patient}),
        lesions=len({(row.folder, *row.lesion) for row in rows if row.lesion}),
        groups=len(splits),
        largest_group=max(Counter(row.group for row in rows).values()),
        counts={name: rank_counts(Counter(row[name] for row in values if row.get(name))) for name in COUNTED},
        missing={column: sum(column not in row for row in values) for column in DESCRIBED},
        by_split={split: rank_counts(counts) for split, counts in sorted(by_split.items())},
        age=min_median_max([float(row["age"]) for row in values if row.get("age")]),
        megapixels=min_median_max([width * height / 1e6 for width, height in filter(None, sizes)]),
        in_two_splits=tuple(sorted(group for group, names in splits.items() if len(names - {""}) > 1)),
        faults=tuple(faults),
        origin=dict(origin or {}),
    )


def read_origin(folder: Path) -> dict[str, object]:
    """Read the origin of a data set from ``source.json``; empty if there is none."""
    try:
        origin = read_json(folder / "source.json")
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def format_markdown(report: DataSetReport) -> str:
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
            others = list(counts.values())[MAX_VALUES:]
            shown = [
                *list(counts.items())[:MAX_VALUES],
                (f"({len(others)} others)", sum(others)),
                (UNKNOWN_LABEL, report.missing[column]),
            ]
            lines += [markdown_row([value, str(n), f"{100 * n / report.rows:.1f}"]) for value, n in shown if n]
    lines += _format_cross_table(report)
    return "\n".join((*lines, ""))


def _format_cross_table(report: DataSetReport) -> list[str]:
    """Return the lines of a table of diagnoses by split; empty without splits."""
    splits = list(report.by_split)
    if splits == [NO_SPLIT]:
        return []
    names = list(dict.fromkeys(name for counts in report.by_split.values() for name in counts))
    lines = ["", "## diagnosis by split", "", markdown_row(["diagnosis", *splits]), f"|---|{'---|' * len(splits)}"]
    return [*lines, *(markdown_row([n, *(str(report.by_split[s].get(n, 0)) for s in splits)]) for n in names)]


def min_median_max(values: Sequence[float]) -> tuple[float, ...]:
    """Return the smallest, median and largest value; empty if there is none."""
    return (min(values), median(values), max(values)) if values else ()


# Domain shift

N_FOLDS = 5
MIN_PATIENTS = 10  # of a source; with fewer, a fold would have only one patient or none
BOOTSTRAP_ROUNDS = 400
MAX_PAIRED_SOURCES = 5  # up to this number, sources are compared in pairs; otherwise each with all others
ALL_OTHERS = "all others"
ALL_FEATURES = "everything"


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with its 95 % interval from a bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class DomainShift:
    """How well two sources can be separated by their images.

    ``images`` are the numbers of images of the first and the second source; ``auc`` maps each family of features, and
    ``ALL_FEATURES``, to its AUC. ``feature_aucs`` lists each feature with its AUC alone, at least 0.5 for either
    direction, the largest first. Features are correlated, so removing single ones (an ablation) would show less.
    """

    first: str
    second: str
    images: tuple[int, int]
    auc: dict[str, AucInterval]
    feature_aucs: tuple[tuple[str, float], ...]

    @property
    def family(self) -> str:
        """The first family of features that both sources have; shifts are sorted by it."""
        return next(iter(self.auc))


def measure_domain_shifts(
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    sources: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[list[DomainShift], list[str]]:
    """Measure how well sources can be separated: in pairs, or each from all others if there are many.

    ``families``: family to feature to values, float (image,) with NaN where unknown. ``sources`` and ``groups``: the
    source and the patient, lesion or image id of each image. Returns the shifts, sorted by their first family and then
    by its AUC, the largest first, and descriptions of the sources with too few groups.
    """
    names, group_ids = np.asarray(sources), np.asarray(groups)
    unique_sources = list(dict.fromkeys(sources))
    sizes = {name: len(set(group_ids[names == name])) for name in unique_sources}
    left_out = [
        f"{name} ({sizes[name]} patients, lesions or images)" for name in unique_sources if sizes[name] < MIN_PATIENTS
    ]
    enough = [name for name in unique_sources if sizes[name] >= MIN_PATIENTS]
    if len(enough) <= MAX_PAIRED_SOURCES:
        compared = [(first, second, [first, second]) for first, second in combinations(enough, 2)]
    else:
        compared = [(name, ALL_OTHERS, enough) for name in enough]
    shifts = []
    for first, second, compared_sources in compared:
        selected = np.isin(names, compared_sources)
        selected_families = {
            family: {name: values[selected] for name, values in features.items()}
            for family, features in families.items()
        }
        shifts.append(
            _measure_shift(first, second, selected_families, names[selected] == first, group_ids[selected], seed)
        )
    order = [*families, ALL_FEATURES]
    return sorted(shifts, key=lambda shift: (order.index(shift.family), -shift.auc[shift.family].value)), left_out


def bootstrap_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int = 0) -> AucInterval:
    """Return the area under the ROC curve with a bootstrap interval over groups, drawn within each class.

    ``scores``: float (image,), higher where ``truth`` is predicted. ``truth``: bool (image,). ``groups``: patient of
    each image, (image,); a patient in both classes is drawn in each of them independently.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(np.char.add(truth.astype("U1"), groups.astype(str)), return_inverse=True)
    is_positive = np.zeros(index.max() + 1, bool)
    is_positive[index] = truth
    classes = [np.flatnonzero(is_positive == is_positive_class) for is_positive_class in (True, False)]
    aucs = []
    for _ in range(BOOTSTRAP_ROUNDS):
        weights = np.zeros(len(is_positive))
        for members in classes:
            weights += np.bincount(rng.choice(members, len(members)), minlength=len(is_positive))
        aucs.append(_weighted_auc(scores, truth, weights[index]))
    low, high = np.percentile(aucs, [2.5, 97.5])
    return AucInterval(_weighted_auc(scores, truth, np.ones(len(scores))), float(low), float(high))


def _weighted_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Return the weighted share of correctly ordered pairs; a tie counts one half."""
    _, level = np.unique(scores, return_inverse=True)
    positives = np.bincount(level, weights * truth)
    negatives = np.bincount(level, weights * ~truth)
    negatives_below = np.cumsum(negatives) - negatives
    return float((positives * (negatives_below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


def _measure_shift(
    first: str,
    second: str,
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    truth: NDArray[np.bool_],
    groups: NDArray,
    seed: int,
) -> DomainShift:
    """Separate the images of one source (``truth``) from another by each family of features, and by all features."""
    usable = {family: _select_features(features, truth, groups) for family, features in families.items()}
    usable = {family: features for family, features in usable.items() if features}
    combined = {name: values for features in usable.values() for name, values in features.items()}
    auc = {}
    for family, features in (*usable.items(), (ALL_FEATURES, combined)):
        table = np.column_stack(list(features.values())) if features else np.zeros((len(truth), 1))
        known = np.isfinite(table).any(axis=1)  # an image without any value would be classified by the imputed values
        labels = (truth[known], groups[known])
        auc[family] = bootstrap_auc(_out_of_fold_scores(table[known], *labels, seed), *labels, seed)
    auc_by_feature = {name: _single_feature_auc(values, truth) for name, values in combined.items()}
    feature_aucs = tuple(sorted(auc_by_feature.items(), key=lambda item: -item[1]))
    return DomainShift(first, second, (int(truth.sum()), int((~truth).sum())), auc, feature_aucs)


def _single_feature_auc(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the AUC of one feature over the images where it is known; at least 0.5 for either direction."""
    known = np.isfinite(values)
    auc = _weighted_auc(values[known], truth[known], np.ones(int(known.sum())))
    return max(auc, 1 - auc)


def _select_features(
    features: Mapping[str, NDArray[np.float64]], truth: NDArray[np.bool_], groups: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Select the features that vary and are known for enough patients of both sources."""
    return {
        name: values
        for name, values in features.items()
        if all(len(set(groups[is_in_source & np.isfinite(values)])) >= MIN_PATIENTS for is_in_source in (truth, ~truth))
        and np.nanstd(values) > 0
    }


def _out_of_fold_scores(
    table: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int
) -> NDArray[np.float64]:
    """Return the cross-validated scores of a logistic regression, with folds split by patient."""
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
