"""What is in a data set, told from its table and the heads of its files: counts, ages, sizes, what is missing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import TABLES, Sample, read_dataset
from napari_melanoma.data.table_file import TableFile
from napari_melanoma.data.vocabulary import harmonised
from napari_melanoma.io.photographs import stored_size

COUNTED = (
    "source",
    "modality",
    "diagnosis",
    "melanoma",
    "sex",
    "site",
    "fitzpatrick",
    "diagnosis_by",
    "split",
    "review",
)
DESCRIBED = ("patient_id", "lesion_id", "age", "diameter_1_mm", *COUNTED)
MOST = 20  # values of a column that are told


@dataclass(frozen=True)
class DataSetReport:
    """What is in a data set.

    ``counts`` gives for each column how often each value occurs, the most frequent first; ``missing`` how many images
    say nothing there; ``by_split`` the diagnoses of each split; ``age`` and ``megapixels`` the smallest, median and
    largest, empty where none is known; ``largest_group`` how many images the patient with the most has; ``origin`` what
    ``source.json`` says of source and licence.
    """

    name: str
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
    origin: dict[str, object]


def describe(folder: Path, *, run: RunContext) -> DataSetReport:
    """Describe a data set; no pixel is decoded.

    Parameters
    ----------
    folder : pathlib.Path
        The data set.
    run : RunContext
        Takes the progress; may stop it.

    Returns
    -------
    DataSetReport
        In our columns, whatever the table calls them.

    Raises
    ------
    DataSetError
        Where it is missing or faulty.
    Cancelled
        Where the user stopped it.
    """
    samples = read_dataset(folder)
    table = TableFile.read(next(folder / name for name in TABLES if (folder / name).is_file()))
    rows = [harmonised(row) for row in table.rows()]
    sizes = [stored_size(sample.image) for sample in run.track(samples, "Reading sizes")]
    return DataSetReport(
        name=folder.name,
        images=len(samples),
        masks=sum(sample.mask is not None for sample in samples),
        patients=len({row["patient_id"] for row in rows if "patient_id" in row}),
        lesions=len({(row.get("patient_id"), row["lesion_id"]) for row in rows if "lesion_id" in row}),
        groups=len({sample.group for sample in samples}),
        largest_group=max(Counter(sample.group for sample in samples).values()),
        counts={column: _counted(row.get(column, "") for row in rows) for column in COUNTED},
        missing={column: sum(column not in row for row in rows) for column in DESCRIBED},
        by_split=_by_split(samples, rows),
        age=_range([float(row["age"]) for row in rows if row.get("age")]),
        megapixels=_range([width * height / 1e6 for width, height in filter(None, sizes)]),
        origin=_origin(folder),
    )


def written(report: DataSetReport) -> str:
    """Write a report as Markdown.

    Parameters
    ----------
    report : DataSetReport
        What is in a data set.

    Returns
    -------
    str
        Headings and tables.
    """
    lines = [f"# {report.name}", "", f"{report.images} images, {report.masks} with a mask."]
    lines.append(
        f"{report.patients} patients and {report.lesions} lesions are named; {report.groups} groups stay together in a "
        f"split, the largest has {report.largest_group} images."
    )
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
            lines += [f"| {value} | {n} | {100 * n / report.images:.1f} |" for value, n in list(counts.items())[:MOST]]
            if report.missing[column]:
                lines.append(
                    f"| (not known) | {report.missing[column]} | {100 * report.missing[column] / report.images:.1f} |"
                )
    lines += _cross_table(report)
    return "\n".join((*lines, ""))


def _cross_table(report: DataSetReport) -> list[str]:
    """Diagnoses by split, where there are splits."""
    splits = list(report.by_split)
    if splits == ["(none)"]:
        return []
    names = list(dict.fromkeys(name for counts in report.by_split.values() for name in counts))
    lines = ["", "## diagnosis by split", "", f"| diagnosis | {' | '.join(splits)} |", f"|---|{'---|' * len(splits)}"]
    return [*lines, *(f"| {n} | {' | '.join(str(report.by_split[s].get(n, 0)) for s in splits)} |" for n in names)]


def _by_split(samples: Sequence[Sample], rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Diagnoses of each split."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, row in zip(samples, rows, strict=True):
        found[sample.split or "(none)"][row.get("diagnosis", "(not known)")] += 1
    return {split: dict(counts.most_common()) for split, counts in sorted(found.items())}


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs that says something, the most frequent first."""
    return dict(Counter(value for value in values if value).most_common())


def _range(values: Sequence[float]) -> tuple[float, ...]:
    """Smallest, median and largest."""
    return (min(values), median(values), max(values)) if values else ()


def _origin(folder: Path) -> dict[str, object]:
    """What the data set says of where it comes from."""
    try:
        found = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
