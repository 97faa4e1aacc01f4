"""Inputs of a risk prediction: files, clinical metadata, and the depth with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.validity import Validity, read_slide_validity
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.depth.readings import DepthReading, Line, SlideDepthProposals, read_depth
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.risk.prediction import RiskDepth, check_plausible_depth
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.reading.opening import find_slides, is_slide


@dataclass(frozen=True)
class RiskCase:
    """Inputs of a case: a row of the harmonized table, the depth with its source, and thickness lines on the slide."""

    row: dict[str, str]
    depth: RiskDepth
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    validity: Validity = field(default_factory=Validity)  # of the analysis that provided depth and positions


def case_of_patch(metadata: Mapping[str, str]) -> RiskCase:
    """Collect the inputs of a single patch; the depth comes from the table or is unknown."""
    check_plausible_depth(metadata)
    return RiskCase(dict(metadata), _depth_from_metadata(metadata) or RiskDepth(None, "unknown"))


def case_of_slide(folder: Path, metadata: Mapping[str, str], reader: str | None) -> RiskCase:
    """Collect the inputs of a slide from readings, table and analysis.

    The depth is that of the reader, else that of the analysis, else that of the table.
    """
    check_plausible_depth(metadata)
    reading, found, content = _select_reading(folder, reader), read_proposals(folder), read_slide_result(folder)
    validity = found.validity.with_reasons(read_slide_validity(content))
    automatic = _depth_from_analysis(content, found, validity)
    depth = _depth_from_reading(reading) or automatic or _depth_from_metadata(metadata) or RiskDepth(None, "unknown")
    own = () if reading is None or reading.line is None else (reading.line,)
    is_measured = bool(own) and depth.source == "reader"
    # With a reading, no other message would state that the estimates of the analysis are not valid.
    estimates = _values_from_analysis(found) if validity.valid or not is_measured else {}
    row = {**estimates, **{name: cell for name, cell in metadata.items() if cell}, **_values_from_reading(reading)}
    row.pop(DEPTH_COLUMN, None)
    if depth.mm is not None:
        row[DEPTH_COLUMN] = f"{depth.mm:g}"
    may_be_more = depth.at_least and depth.mm and not depth.not_valid
    notes = [f"the thickness is at least {depth.mm:.2f} mm and may be greater"] if may_be_more else []
    lines = (*own, *(one.line for one in found.proposals))
    notes = [*notes, *found.notes] if validity.valid else notes
    return RiskCase(row, depth, lines, tuple(notes), Validity() if is_measured else validity)


def _select_reading(folder: Path, reader: str | None) -> DepthReading | None:
    """Select the reading to use."""
    readings = [one for one in read_depth(folder).readings if one.when]
    if reader is not None:
        mine = next((one for one in readings if one.reader == reader), None)
        if mine is None:
            there = ", ".join(f"'{one.reader}'" for one in readings) or "none"
            raise InputError(
                f"{folder.name}: no reading by '{reader}' (readings by: {there}). Select one of these readers."
            )
        return mine
    return max(readings, key=lambda one: one.when, default=None)


def _depth_from_reading(reading: DepthReading | None) -> RiskDepth | None:
    if reading is None or reading.mm is None:
        return None
    return RiskDepth(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def _depth_from_analysis(
    content: Mapping[str, Any], found: SlideDepthProposals, validity: Validity
) -> RiskDepth | None:
    why = "" if validity.valid else validity.headline("")
    best = found.proposals[0] if found.proposals else None
    mm = content.get("breslow_mm")
    if isinstance(mm, int | float):
        ends = content.get("breslow_interval_mm")
        interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
        return RiskDepth(float(mm), "automatic", interval, best is not None and best.at_least, not_valid=why)
    if best is None:
        return None
    return RiskDepth(best.mm, "automatic", best.interval_mm, best.at_least, not_valid=why)


def _depth_from_metadata(metadata: Mapping[str, str]) -> RiskDepth | None:
    mm = read_number(metadata.get(DEPTH_COLUMN))
    return None if math.isnan(mm) else RiskDepth(mm, "metadata")


def _values_from_analysis(found: SlideDepthProposals) -> dict[str, str]:
    """Clark level and ulceration as estimated by the analysis."""
    values = {} if found.clark is None else {"clark": str(found.clark)}
    return values if found.ulcerated is None else {**values, "ulceration": str(int(found.ulcerated))}


def _values_from_reading(reading: DepthReading | None) -> dict[str, str]:
    """Clark level, ulceration and mitoses of a reading."""
    if reading is None:
        return {}
    mitoses = reading.mitoses.per_mm2
    values = {
        "clark": None if reading.clark is None else str(reading.clark),
        "ulceration": None if reading.ulcerated is None else str(int(reading.ulcerated)),
        "mitoses_per_mm2": None if mitoses is None else f"{mitoses:g}",
    }
    return {name: cell for name, cell in values.items() if cell is not None}


def find_risk_inputs(inputs: Sequence[str]) -> list[Path]:
    """List the slides and patches that files, folders and patterns name, without duplicates, in the given order."""
    from napari_melanoma.io.discovery import find_photographs

    found: dict[Path, None] = {}
    for named in inputs:
        path = Path(named).expanduser()
        if path.is_file() or (path.is_dir() and is_slide(path)):
            found[path] = None
            continue
        both: dict[Path, None] = {}
        faults = []
        for find in (find_slides, find_photographs):
            try:
                both |= dict.fromkeys(find([named]))
            except InputError as error:
                faults.append(error)
        if not both:
            raise faults[0]
        found |= both
    return list(found)
