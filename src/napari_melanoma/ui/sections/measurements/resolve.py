"""What the Measurements section shows of a lesion, as texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.imaging.measurements import MEASUREMENTS

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.lesion.analysis import LesionResult


class MeasurementRow(NamedTuple):
    """One quantity; ``cells``: its name, the value in pixels or without unit, and in mm (empty if unknown)."""

    cells: tuple[str, str, str]
    tooltip: str


class LesionMeasurementRow(NamedTuple):
    """One of several lesions; ``cells``: number, area, diameter and probability (empty if not predicted)."""

    cells: tuple[str, str, str, str]
    is_in_mask: bool


@dataclass(frozen=True)
class MeasurementsView:
    """The rows of the table; those of the list, empty for a single lesion; and the class that is predicted."""

    rows: tuple[MeasurementRow, ...] = ()
    lesions: tuple[LesionMeasurementRow, ...] = ()
    positive: str = ""


def resolve_measurements(result: LesionResult | None, predictions: tuple[ClassPrediction, ...]) -> MeasurementsView:
    """Return what is shown of a result; ``predictions``: one for each of several lesions, or none."""
    if result is None:
        return MeasurementsView()
    measured = result.lesion_measurements
    if len(predictions) != len(measured):
        predictions = ()
    lesions = tuple(
        LesionMeasurementRow(
            (f"{index + 1}", *_format_size(values), _format_prediction(predictions[index]) if predictions else ""),
            index < len(result.mask_parts),
        )
        for index, values in enumerate(measured)
    )
    positive = predictions[0].positive if predictions else ""
    return MeasurementsView(measurement_rows(result.measurements), lesions, positive)


# Measurements for statistics, which are in the tables that are saved
UNLISTED = ("equivalent_diameter_px", "compactness", "eccentricity", "axis_ratio", "solidity", "fractal_dimension")


def measurement_rows(values: Mapping[str, float]) -> tuple[MeasurementRow, ...]:
    """Arrange the measurements that readers use, by name, with one row for each quantity."""
    physical = {item.label: item for item in MEASUREMENTS if item.unit.startswith("mm")}
    rows = []
    for item in MEASUREMENTS:
        is_one_part = item.name == "parts" and values.get("parts") == 1
        if item.name in UNLISTED or item.name.startswith("color_std_") or is_one_part:
            continue
        if item.name in values and not item.unit.startswith("mm"):
            in_mm = physical.get(item.label)
            value = "" if in_mm is None or in_mm.name not in values else format_value(values[in_mm.name], in_mm.unit)
            cells = item.label, format_value(values[item.name], item.unit), value
            rows.append(MeasurementRow(cells, f"{item.label}: {item.explanation}"))
    return tuple(rows)


def format_value(value: float, unit: str) -> str:
    """Format a value with three or four significant digits and the unit."""
    if not math.isfinite(value):
        return "–"
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


def _format_size(values: Mapping[str, float]) -> tuple[str, str]:
    unit, area = ("mm", "area_mm2") if "area_mm2" in values else ("px", "area_px")
    return format_value(values[area], f"{unit}²"), format_value(values[f"max_diameter_{unit}"], unit)


def _format_prediction(prediction: ClassPrediction) -> str:
    """Return the probability of the positive class with its 95 % interval."""
    interval = "" if prediction.interval is None else " ({:.2f}–{:.2f})".format(*prediction.interval)
    return f"{prediction.probability:.2f}{interval}"
