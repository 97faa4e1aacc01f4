"""The report of data sets: counts, what is missing, how the sources differ, pictures that occur twice."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import write_json
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.domain_shift import DomainShift, domain_shifts
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.report import (
    DataSetReport,
    ReportRow,
    describe_rows,
    origin_of,
    read_rows,
)
from napari_melanoma.io.photographs import stored_size
from napari_melanoma.io.thumbnails import read_thumbnail

if TYPE_CHECKING:
    from numpy.typing import NDArray

THUMBNAIL_PX = 256
AT_ONCE = 64  # images between two looks at the wish to stop
RARE = 20  # rows with a word, below which it is no feature
COLOURS = {
    "lightness_50": "lightness",
    "lightness_deviation": "contrast",
    "green_red_50": "green to red",
    "blue_yellow_50": "blue to yellow",
    "chroma_mean": "colourfulness",
    "ring4_lightness": "lightness of the corners",
    "ring4_dark": "dark corners",
    "steps1_mean": "fine structure",
    "steps8_mean": "coarse structure",
}
"""Features of ``analysis.appearance`` that a person can picture, and what they are called on the page."""

IMAGE, FILE, TABLE, MISSING = "colours and structure", "size and sharpness", "table", "what the table leaves out"
NUMBERS = {"age": "age", "diameter_1_mm": "diameter (mm)", "fitzpatrick": "Fitzpatrick type"}
WORDS = ("sex", "site", "diagnosis")

Features = dict[str, dict[str, "NDArray[np.float64]"]]
"""Family to the features in it, each float (row,) with NaN where it is not known."""


class DataReportOptions(Config):
    """How a report is made."""

    images: int = Field(400, ge=20, description="images of each source that are looked at, drawn by the seed")
    duplicates: bool = Field(True, description="look for pictures that occur twice")
    seed: int = Field(0, ge=0, description="of the draws, folds and intervals")


@dataclass(frozen=True)
class DataReport:
    """What is in data sets, and how their sources differ.

    ``whole`` describes all rows, ``sources`` those of each; ``looked_at`` are the rows whose images were measured and
    ``features`` what was found, row by row; ``shifts`` how well sources are told apart, ``too_small`` those that could
    not be; ``duplicates`` are pictures that occur twice, ``None`` where they were not looked for.
    """

    whole: DataSetReport
    sources: dict[str, DataSetReport]
    rows: list[ReportRow]
    looked_at: list[ReportRow]
    features: Features
    shifts: list[DomainShift]
    too_small: list[str]
    duplicates: list[Duplicate] | None


def data_report(folders: Sequence[Path], options: DataReportOptions, *, run: RunContext) -> DataReport:
    """Look data sets over.

    Nothing is written.
    """
    rows, faults = read_rows(folders, run=run)
    by_source: dict[str, list[ReportRow]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    looked_at = _chosen(by_source, options)
    features, sizes = measure(looked_at, run)
    shifts, too_small = domain_shifts(
        features, [row.source for row in looked_at], [row.group for row in looked_at], options.seed
    )
    name = ", ".join(folder.name for folder in folders)
    origin = origin_of(folders[0]) if len(folders) == 1 else {}
    whole = describe_rows(name, rows, sizes, faults, origin)
    return DataReport(
        whole=whole,
        sources={source: describe_rows(source, members) for source, members in by_source.items()},
        rows=rows,
        looked_at=looked_at,
        features=features,
        shifts=shifts,
        too_small=too_small,
        duplicates=find_duplicates(_samples(rows), run) if options.duplicates else None,
    )


def write_report(report: DataReport, out: Path) -> Path:
    """Write the page, its figures and the numbers behind it."""
    from napari_melanoma.report.data_page import write_data_page
    from napari_melanoma.workflows.data_report_page import page_of

    values = {
        "format_version": 1,
        "all": _plain(report.whole),
        "sources": {name: _plain(found) for name, found in report.sources.items()},
        "images_looked_at": len(report.looked_at),
        "domain_shift": [asdict(shift) for shift in report.shifts],
        "too_small_for_it": report.too_small,
        "duplicates": None if report.duplicates is None else [_pair(pair) for pair in report.duplicates],
    }
    write_json(out / "report.json", values)
    write_data_page(page_of(report, out / "figures"), out / "report.html")
    return out / "report.html"


def measure(rows: Sequence[ReportRow], run: RunContext) -> tuple[Features, list[tuple[int, int]]]:
    """Measure what sources may differ in: images, files, and what the table says and leaves out.

    By family; those of images are NaN where a row has none or it cannot be read.
    """
    found: list[dict[str, float]] = []
    with ThreadPoolExecutor(thread_name_prefix="measuring") as pool:
        for start in range(0, len(rows), AT_ONCE):
            run.check()
            found += pool.map(_measured, [row.image for row in rows[start : start + AT_ONCE]])
            run.report(Progress(len(found), len(rows), "Measuring images"))
    features: Features = {
        IMAGE: _columns(found, tuple(COLOURS.values())),
        FILE: _columns(found, ("megapixels", "width to height", "sharpness", "bytes per pixel")),
        **_of_table(rows),
    }
    sizes = [(int(one["width"]), int(one["height"])) for one in found if "width" in one]
    return features, sizes


def _chosen(by_source: Mapping[str, Sequence[ReportRow]], options: DataReportOptions) -> list[ReportRow]:
    """Rows that are looked at: of each source so many, with an image where there are any."""
    chosen: list[ReportRow] = []
    for members in by_source.values():
        with_image = [row for row in members if row.image is not None] or list(members)
        many = len(with_image) > options.images
        chosen += random.Random(options.seed).sample(with_image, options.images) if many else with_image
    return chosen


def _measured(image: Path | None) -> dict[str, float]:
    """What one image and its file say; empty where there is none, or it cannot be read."""
    from napari_melanoma.analysis.appearance import appearance

    if image is None:
        return {}
    try:
        rgb = read_thumbnail(image, THUMBNAIL_PX)
        width, height = stored_size(image) or rgb.shape[1::-1]
        looks = appearance(rgb)
    except UnreadableImage:
        return {}
    grey = rgb.mean(axis=2)
    edges = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    return {
        **{name: looks[key] for key, name in COLOURS.items()},
        "width": width,
        "height": height,
        "megapixels": width * height / 1e6,
        "width to height": width / height,
        "sharpness": float(edges.mean() / (grey.std() + 1)),
        "bytes per pixel": image.stat().st_size / (width * height),
    }


def _columns(found: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Measurements as columns."""
    return {name: np.array([one.get(name, np.nan) for one in found]) for name in names}


def _of_table(rows: Sequence[ReportRow]) -> Features:
    """What the table says as numbers, and whether it says it; a word that is rare is no feature."""
    values = [row.values for row in rows]
    said = {title: _numbers([row.get(column, "") for row in values]) for column, title in NUMBERS.items()}
    missing = {f"{title} known": np.isfinite(column).astype(float) for title, column in said.items()}
    for column in WORDS:
        words = np.array([row.get(column, "") for row in values])
        missing[f"{column} known"] = (words != "").astype(float)
        for word in np.unique(words[words != ""]):
            if (words == word).sum() >= RARE:
                said[f"{column} {word}"] = np.where(words == "", np.nan, words == word)
    return {TABLE: said, MISSING: missing}


def _numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    """Numbers of a column; NaN where there is none."""
    found = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        try:
            found[place] = float(text)
        except ValueError:
            continue
    return found


def _samples(rows: Sequence[ReportRow]) -> list[Sample]:
    """Rows with an image as the search for the same pictures takes them."""
    return [
        Sample(row.values["image_id"], row.image, None, row.group, row.values.get("split", ""), row.source)
        for row in rows
        if row.image is not None
    ]


def _plain(found: DataSetReport) -> dict[str, object]:
    """A description for JSON; what is missing as a list, so that no count stands under the name of a patient's id."""
    missing = [{"column": column, "rows": count} for column, count in found.missing.items()]
    return {**asdict(found), "missing": missing}


def _pair(pair: Duplicate) -> dict[str, object]:
    """Two images that show the same, by their names."""
    first, second = (f"{one.domain}/{one.image_id}" for one in (pair.first, pair.second))
    return {"first": first, "second": second, "likeness": pair.likeness, "in_two_splits": pair.leaks}
