"""Content of data sets, from their tables and the headers of their files; no pixel is decoded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.dataset import DatasetEntry, check_dataset_names, get_group_id, iter_entries
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.io.photographs import read_image_size

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
    value occurs, the most frequent first; ``missing`` how many rows have no value there; ``by_split`` the diagnoses of
    each split; ``age`` and ``megapixels`` the smallest, median and largest, empty where none is known;
    ``largest_group`` the number of images of the largest group; ``in_two_splits`` names groups in several splits;
    ``faults`` what could not be read; ``origin`` source and license from ``source.json``.
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
    """Read the rows of data sets harmonized and in their order, also those without an image."""
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
        age=_min_median_max([float(row["age"]) for row in values if row.get("age")]),
        megapixels=_min_median_max([width * height / 1e6 for width, height in filter(None, sizes)]),
        in_two_splits=tuple(sorted(group for group, names in splits.items() if len(names - {""}) > 1)),
        faults=tuple(faults),
        origin=dict(origin or {}),
    )


def read_origin(folder: Path) -> dict[str, object]:
    """Read the origin of a data set from ``source.json``; empty where there is none."""
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
        lines.append(f"{len(report.faults)} rows could not be used, such as: {report.faults[0]}")
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
            lines += [
                f"| {value} | {n} | {100 * n / report.rows:.1f} |" for value, n in list(counts.items())[:MAX_VALUES]
            ]
            if report.missing[column]:
                share = 100 * report.missing[column] / report.rows
                lines.append(f"| {UNKNOWN_LABEL} | {report.missing[column]} | {share:.1f} |")
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
    lines = ["", "## diagnosis by split", "", f"| diagnosis | {' | '.join(splits)} |", f"|---|{'---|' * len(splits)}"]
    return [*lines, *(f"| {n} | {' | '.join(str(report.by_split[s].get(n, 0)) for s in splits)} |" for n in names)]


def _count_by_split(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Count the diagnoses of each split."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found[row.get("split") or NO_SPLIT][row.get("diagnosis", UNKNOWN_LABEL)] += 1
    return {split: dict(counts.most_common()) for split, counts in sorted(found.items())}


def _count_values(values: Iterable[str]) -> dict[str, int]:
    """Count how often each value occurs, the most frequent first; empty cells are not counted."""
    return dict(Counter(value for value in values if value).most_common())


def _min_median_max(values: Sequence[float]) -> tuple[float, ...]:
    return (min(values), median(values), max(values)) if values else ()
