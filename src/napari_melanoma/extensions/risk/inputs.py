"""Inputs of a risk prediction: files, clinical metadata, and the depth (Breslow thickness) with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import DepthReading, Line, SlideDepthProposals, SlideDepthReadings, latest_reading
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.extensions.risk.prediction import check_plausible_depth
from napari_melanoma.slides.depth_readings import (
    UNKNOWN_DEPTH,
    KnownDepth,
    depth_from_analysis,
    depth_from_reading,
    find_validity,
    read_proposals,
)
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.reading.detection import find_slides, is_slide


@dataclass(frozen=True)
class RiskCase:
    """Inputs of a case.

    ``row``: clinical metadata as a row of the harmonized table, including the depth. ``lines``: thickness lines on the
    slide, that of the reader first. ``notes``: warnings for the user. ``validity``: of the slide analysis that provided
    depth and positions. ``predicted``: columns of ``row`` other than the depth that the analysis provided.
    ``analysis``: content of the ``result.json`` whose lesions are further positions; empty if they are not used.
    """

    row: dict[str, str]
    depth: KnownDepth
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    validity: Validity = field(default_factory=Validity)
    predicted: tuple[str, ...] = ()
    analysis: Mapping[str, Any] = field(default_factory=dict)


def make_patch_case(metadata: Mapping[str, str]) -> RiskCase:
    """Collect the inputs of a single patch; the depth comes from the table or is unknown."""
    check_plausible_depth(metadata)
    return RiskCase(dict(metadata), _depth_from_metadata(metadata) or UNKNOWN_DEPTH)


def read_slide_case(folder: Path, metadata: Mapping[str, str], reader: str | None) -> RiskCase:
    """Collect the inputs of a slide from readings, analysis and table.

    The depth is that of the reader, else that of the analysis, else that of the table. Of other values, a reading takes
    precedence over the table, and the table over the analysis.

    ``folder``: results of the slide. ``reader``: whose reading is used; None: the latest one.
    """
    check_plausible_depth(metadata)
    reading = _select_reading(read_findings(folder), reader, folder.name)
    return make_slide_case(reading, read_proposals(folder), read_analysis(folder), metadata)


def make_slide_case(
    reading: DepthReading | None,
    proposals: SlideDepthProposals,
    content: Mapping[str, Any],
    metadata: Mapping[str, str],
) -> RiskCase:
    """Collect the inputs of a slide as in ``read_slide_case``; ``content``: of the ``result.json`` of the analysis."""
    validity = find_validity(content, proposals)
    measured = depth_from_reading(reading) or depth_from_analysis(content, proposals)
    depth = measured or _depth_from_metadata(metadata) or UNKNOWN_DEPTH
    reading_lines = () if reading is None or reading.line is None else (reading.line,)
    is_measured = bool(reading_lines) and depth.source == "reader"
    # If the analysis is not valid and the thickness was measured by a reader, no message would warn of its results.
    is_used = validity.valid or not is_measured
    estimates = _values_from_analysis(proposals) if is_used else {}
    known = {**{name: cell for name, cell in metadata.items() if cell}, **values_from_reading(reading)}
    predicted = tuple(name for name in estimates if name not in known)
    row = {**estimates, **known}
    row.pop(DEPTH_COLUMN, None)
    if depth.mm is not None:
        row[DEPTH_COLUMN] = f"{depth.mm:g}"
    notes = list[str]()
    if depth.at_least and depth.mm and not depth.not_valid:
        notes.append(f"the thickness is {format_thickness(depth.mm, at_least=True)} and may be greater")
    lines = (*reading_lines, *(proposal.line for proposal in proposals.proposals if is_used))
    notes = [*notes, *proposals.notes] if validity.valid else notes
    case_validity, analysis = Validity() if is_measured else validity, content if is_used else {}
    return RiskCase(row, depth, lines, tuple(notes), case_validity, predicted, analysis)


def _select_reading(depth: SlideDepthReadings, reader: str | None, slide: str) -> DepthReading | None:
    """Select the reading of a reader, or the latest one; None if there is none."""
    if reader is None:
        return latest_reading(depth)
    readings = tuple(reading for reading in depth.readings if reading.when)
    selected = SlideDepthReadings(readings=readings).reading_by(reader)
    if selected is None:
        present = ", ".join(f"'{reading.reader}'" for reading in readings) or "none"
        raise InputError(f"{slide}: no reading by '{reader}' (readings by: {present}). Select one of these readers.")
    return selected


def _depth_from_metadata(metadata: Mapping[str, str]) -> KnownDepth | None:
    mm = read_number(metadata.get(DEPTH_COLUMN))
    return None if math.isnan(mm) else KnownDepth(mm, "metadata")


def _values_from_analysis(proposals: SlideDepthProposals) -> dict[str, str]:
    """Return Clark level and ulceration as estimated by the analysis."""
    values = {} if proposals.clark is None else {"clark": str(proposals.clark)}
    return values if proposals.ulcerated is None else {**values, "ulceration": str(int(proposals.ulcerated))}


def values_from_reading(reading: DepthReading | None) -> dict[str, str]:
    """Return Clark level, ulceration and mitoses that a reader has set."""
    if reading is None:
        return {}
    own, mitoses = reading.without_predicted_findings(), reading.mitoses.per_mm2
    values = {
        "clark": None if own.clark is None else str(own.clark),
        "ulceration": None if own.ulcerated is None else str(int(own.ulcerated)),
        "mitoses_per_mm2": None if mitoses is None else f"{mitoses:g}",
    }
    return {name: cell for name, cell in values.items() if cell is not None}


def find_risk_inputs(inputs: Sequence[str]) -> list[Path]:
    """List the slides and patches that files, folders and patterns name, without duplicates, in the given order."""
    from napari_melanoma.io.discovery import find_photographs

    paths: dict[Path, Path] = {}
    for name in inputs:
        path = expand_user(name)
        if path.is_file() or (path.is_dir() and is_slide(path)):
            paths.setdefault(_location(path), path)
            continue
        matches: dict[Path, None] = {}
        faults = []
        for find in (find_slides, find_photographs):
            try:
                matches |= dict.fromkeys(find([name]))
            except InputError as error:
                faults.append(error)
        if not matches:
            raise faults[0]
        for match in matches:
            paths.setdefault(_location(match), match)
    return list(paths.values())


def _location(path: Path) -> Path:
    """Return the same path for each way to write it; links to one file are files with names of their own."""
    return real_path(path.parent) / path.name
