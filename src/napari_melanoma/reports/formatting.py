"""Texts and bars that several sections of reports show: patient data, probabilities, contributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_melanoma.data.table_schema import field_title, find_column, format_field_value
from napari_melanoma.depth.report_blocks import round_number
from napari_melanoma.figures.page import Bar
from napari_melanoma.reports.disclosure import OLDEST, hide_age


def signed_bar(value: float) -> Bar:
    """Return a bar for a contribution between -1 and 1."""
    return Bar(f"{round(value, 2) + 0.0:+.2f}", max(-1.0, min(1.0, value)), signed=True)


def format_known_data(data: Mapping[str, object], *, personal: bool = True) -> str:
    """Format the known data of a patient and a melanoma, such as ``Age 64 years, Sex male``; a dash if unknown."""
    texts = ((name, format_field_value(name, round_number(name, str(cell)))) for name, cell in data.items())
    shown = ((name, hide_age(name, text, personal=personal)) for name, text in texts)
    return ", ".join(f"{field_title(name)} {cell} {_column_unit(name, cell)}".rstrip() for name, cell in shown) or "–"


def format_risk(prediction: Mapping[str, Any]) -> str:
    """Format the probability of a risk prediction (``risk.json``) with its interval, without a conclusion."""
    value = format_value(prediction["probability"], prediction.get("interval"))
    return str(prediction.get("number") or f"risk of {prediction.get('positive', 'metastasis')} {value}")


def format_value(value: float, interval: object) -> str:
    pair = parse_interval(interval)
    return f"{value:.2f}" + ("" if pair is None else f" ({pair[0]:.2f} to {pair[1]:.2f})")


def parse_interval(value: object) -> tuple[float, float] | None:
    """Read an interval from JSON; None if there is none."""
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def _column_unit(name: str, cell: str) -> str:
    column = find_column(name)
    return column.unit if column and cell != OLDEST else ""
