"""Correlate area and probability of the lesions of several slides; write a table, the correlation and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import remove_file, write_json
from napari_melanoma.core.formatting import distinct_names
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.figures.evaluation import LesionPoints, plot_area_and_probability
from napari_melanoma.io.results import LESIONS, read_slide_result, write_table
from napari_melanoma.io.slide_store import file_errors_translated
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.scores import (
    ComparableLesions,
    correlate_area_and_probability,
    describe_correlation,
    select_comparable_lesions,
    uses_log_axis,
)
from napari_melanoma.slides.slide_table import LesionRow, read_slide_lesion_rows

TABLE, RELATION, FIGURE = "relation.csv", "relation.json", "figures/area_probability.png"
COLUMNS = ("slide", "lesion", "label", "area_mm2", "area_px", "probability", "model", "valid", "validity", "used")


@dataclass(frozen=True)
class LesionRelation:
    """The lesions of several slides, and the correlation of their area and probability.

    ``lesions``: all of them. ``validity``: of each slide, by its result folder. ``included``: whether lesions of slides
    without a valid prediction are correlated as well. ``failed``: folders that could not be read, with the reason.
    """

    lesions: tuple[LesionRow, ...]
    validity: Mapping[Path, Validity]
    included: bool
    failed: Mapping[Path, str]

    @cached_property
    def names(self) -> Mapping[Path, str]:
        """The name of each slide, also of failed ones; slides of the same name differ in their folders."""
        return distinct_names([*self.validity, *self.failed])

    @cached_property
    def comparable(self) -> ComparableLesions[LesionRow]:
        """The lesions that are correlated: those of valid or included predictions whose areas can be compared."""
        lesions = [lesion for lesion in self.lesions if self.included or self.validity[lesion.slide].valid]
        return select_comparable_lesions(lesions, [str(lesion.slide) for lesion in lesions])

    @property
    def used(self) -> tuple[LesionRow, ...]:
        """The correlated lesions."""
        return self.comparable.lesions

    @property
    def slides(self) -> int:
        """Number of slides with correlated lesions."""
        return len({one.slide for one in self.used})

    @property
    def estimate(self) -> Estimate | None:
        """The correlation, with an interval over slides, or over lesions if there is only one slide."""
        return correlate_area_and_probability(self.comparable)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that predicted the correlated lesions."""
        return tuple(dict.fromkeys(one.model for one in self.used))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what limits the correlation."""
        suffix = "" if self.included else "; left out"
        notes = [
            f"{self.names[slide]}: {validity.headline('')}{suffix}"
            for slide, validity in self.validity.items()
            if not validity.valid
        ]
        if len(self.models) > 1:
            notes.append(f"{len(self.models)} different models were used: their probabilities may not be comparable")
        if self.used and self.comparable.note:
            notes.append(self.comparable.note)
        return tuple(notes)

    @property
    def summary(self) -> str:
        """The correlation in words, or why there is none."""
        if not self.used and self.comparable.note:
            return self.comparable.note
        return describe_correlation(self.estimate, len(self.used), self.slides)


def relate_lesions(folders: Sequence[Path], *, include_invalid: bool, run: RunContext) -> LesionRelation:
    """Read the lesions in the result folders of slides, with manual corrections."""
    lesions, validity, failed = list[LesionRow](), dict[Path, Validity](), dict[Path, str]()
    for folder in run.track(folders, "Reading lesions"):
        if not (folder / LESIONS).is_file():
            failed[folder] = f"there is no {LESIONS}: analyze the slide with 'napari-melanoma slide'."
            continue
        try:
            lesions += read_slide_lesion_rows(folder)
            validity[folder] = read_validity(read_slide_result(folder))
        except InputError as error:
            failed[folder] = str(error)
        except (KeyError, ValueError) as error:
            failed[folder] = f"{LESIONS} cannot be read ({error}): restore it from a backup, or analyze again."
    lesions = [lesion for lesion in lesions if lesion.slide in validity]
    return LesionRelation(tuple(lesions), validity, include_invalid, failed)


def write_relation(relation: LesionRelation, out: Path) -> list[Path]:
    """Write the table of all lesions, the correlation, and the figure if there are correlated lesions."""
    used = set(map(id, relation.used))
    write_table(out / TABLE, [_row(one, relation, id(one) in used) for one in relation.lesions], COLUMNS)
    write_json(out / RELATION, relation_to_json(relation))
    if not used:
        with file_errors_translated(out / FIGURE):
            remove_file(out / FIGURE)  # of an earlier run
        return [out / TABLE, out / RELATION]
    areas = [relation.comparable.area(one) for one in relation.used]
    points = LesionPoints(
        areas, [one.probability for one in relation.used], [one.label != "benign" for one in relation.used]
    )
    some_invalid = not all(relation.validity[one.slide].valid for one in relation.used)
    title = f"{'Includes predictions that are not valid. ' if some_invalid else ''}{relation.summary}"
    plot_area_and_probability(points, relation.comparable.unit, title, out / FIGURE, log_axis=uses_log_axis(areas))
    return [out / TABLE, out / RELATION, out / FIGURE]


def relation_to_json(relation: LesionRelation) -> dict[str, Any]:
    """Return the content of ``relation.json``; the correlation is null for fewer than three lesions or equal values."""
    estimate = relation.estimate
    return {
        "format_version": 1,
        "spearman": None if estimate is None or math.isnan(estimate.mean) else asdict(estimate),
        "interval_over": "slides" if relation.slides > 1 else "lesions",
        "area_unit": "mm2" if relation.comparable.in_mm2 else "px",
        "lesions": len(relation.used),
        "slides": relation.slides,
        "models": list(relation.models),
        "summary": relation.summary,
        "notes": list(relation.notes),
    }


def _row(lesion: LesionRow, relation: LesionRelation, used: bool) -> dict[str, object]:
    values = {name: getattr(lesion, name) for name in ("label", "area_mm2", "area_px", "probability", "model")}
    validity = relation.validity[lesion.slide].to_columns()
    return {"slide": relation.names[lesion.slide], "lesion": lesion.index, **values, **validity, "used": int(used)}
