"""What is known of a melanoma beside its image: a reader's word, what a table says, what the analysis measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.core.depth import DEPTH
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.io.slide_depth import Line, Proposed, Reading, read_depth
from napari_melanoma.io.slide_folder import read_content, validity_in
from napari_melanoma.workflows.depth_readings import proposed_in
from napari_melanoma.workflows.risk_answer import DepthUsed
from napari_melanoma.workflows.risk_gaps import check_possible


@dataclass(frozen=True)
class KnownCase:
    """What is known: a row of the harmonised table, the depth with its source, and lines of thickness on the slide."""

    row: dict[str, str]
    depth: DepthUsed
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    validity: Validity = field(default_factory=Validity)  # of the analysis that depth and places come from


def known_of_patch(form: Mapping[str, str]) -> KnownCase:
    """Take what a table says of the melanoma in a patch.

    Its depth is from the table, or not known.
    """
    check_possible(form)
    return KnownCase(dict(form), _of_table(form) or DepthUsed(None, "unknown"))


def known_of_slide(folder: Path, form: Mapping[str, str], reader: str | None) -> KnownCase:
    """Put together what readers, a table and the analysis say of the melanoma on a slide.

    Its depth is that of the reader, else that of the analysis, else that of the table.
    """
    check_possible(form)
    reading, found = _reading(folder, reader), proposed_in(folder)
    analysed = found.validity.with_reasons(validity_in(read_content(folder)))
    automatic = _of_analysis(folder, found, analysed)
    depth = _of_reader(reading) or automatic or _of_table(form) or DepthUsed(None, "unknown")
    own = () if reading is None or reading.line is None else (reading.line,)
    is_measured = bool(own) and depth.source == "reader"
    # Beside a reading nothing else says that what the analysis estimates is not valid.
    told = _of_slide(found) if analysed.valid or not is_measured else {}
    row = {**told, **{name: cell for name, cell in form.items() if cell}, **_said(reading)}
    row.pop(DEPTH, None)
    if depth.mm is not None:
        row[DEPTH] = f"{depth.mm:g}"
    may_be_more = depth.at_least and depth.mm and not depth.not_valid
    notes = [f"the thickness is at least {depth.mm:.2f} mm: it may be more"] if may_be_more else []
    lines = (*own, *(one.line for one in found.proposals))
    notes = [*notes, *found.notes] if analysed.valid else notes
    return KnownCase(row, depth, lines, tuple(notes), Validity() if is_measured else analysed)


def _reading(folder: Path, reader: str | None) -> Reading | None:
    """The reading that counts."""
    readings = [one for one in read_depth(folder).readings if one.when]
    if reader is not None:
        mine = next((one for one in readings if one.reader == reader), None)
        if mine is None:
            there = ", ".join(f"'{one.reader}'" for one in readings) or "nobody"
            raise InputError(
                f"{folder.name}: '{reader}' has measured nothing there (readings by {there}). Name one of these."
            )
        return mine
    return max(readings, key=lambda one: one.when, default=None)


def _of_reader(reading: Reading | None) -> DepthUsed | None:
    """The thickness that a reader measured."""
    if reading is None or reading.mm is None:
        return None
    return DepthUsed(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def _of_analysis(folder: Path, found: Proposed, validity: Validity) -> DepthUsed | None:
    """The thickness that the analysis measured."""
    content, why = read_content(folder), "" if validity.valid else validity.headline("")
    best = found.proposals[0] if found.proposals else None
    mm = content.get("breslow_mm")
    if isinstance(mm, int | float):
        ends = content.get("breslow_interval_mm")
        interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
        return DepthUsed(float(mm), "automatic", interval, best is not None and best.at_least, not_valid=why)
    if best is None:
        return None
    return DepthUsed(best.mm, "automatic", best.interval_mm, best.at_least, not_valid=why)


def _of_table(form: Mapping[str, str]) -> DepthUsed | None:
    """The thickness that a table says."""
    mm = number_of(form.get(DEPTH))
    return None if mm != mm else DepthUsed(float(mm), "metadata")


def _of_slide(found: Proposed) -> dict[str, str]:
    """What the analysis estimates beside the thickness."""
    told = {} if found.clark is None else {"clark": str(found.clark)}
    return told if found.ulcerated is None else {**told, "ulceration": str(int(found.ulcerated))}


def _said(reading: Reading | None) -> dict[str, str]:
    """What a reader set beside the thickness."""
    if reading is None:
        return {}
    mitoses = reading.mitoses.per_mm2
    said = {
        "clark": None if reading.clark is None else str(reading.clark),
        "ulceration": None if reading.ulcerated is None else str(int(reading.ulcerated)),
        "mitoses_per_mm2": None if mitoses is None else f"{mitoses:g}",
    }
    return {name: cell for name, cell in said.items() if cell is not None}
