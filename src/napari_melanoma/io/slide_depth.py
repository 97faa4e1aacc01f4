"""What readers measured of a melanoma on a slide: ``depth.json`` among its results, a reading for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.slide_folder import validity_in

DEPTH = "depth.json"

Number = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Point = tuple[Number, Number]
Line = tuple[Point, Point]
Interval = tuple[Length, Length]
Method = Literal["automatic", "hand", "corrected"]


class Change(Config):
    """One value that somebody set: what it was and became, who did it and when."""

    field: str
    before: Any = None
    after: Any = None
    reader: str = ""
    when: str = Field("", description="UTC, ISO 8601")


class Margins(Config):
    """How far the melanoma stays from the edges of what was cut out, in mm; None where nobody measured it."""

    lateral_mm: Length | None = None
    deep_mm: Length | None = None


class Mitoses(Config):
    """Mitoses that were marked, and the area in which they were counted, in pixels of the finest level."""

    points: tuple[Point, ...] = ()
    areas: tuple[tuple[Point, ...], ...] = ()
    counted: int | None = Field(None, ge=0, description="those within the area; all, where there is none")
    mm2: Length | None = Field(None, description="the area")
    per_mm2: Length | None = None


class Reading(Config):
    """What one reader says of the depth of a melanoma, and of what a report names beside it."""

    reader: str = Field("", description="who; empty where nobody said so")
    when: str = Field("", description="of the last change, UTC, ISO 8601; empty where all was undone")
    method: Method = Field("hand", description="of the line; corrected: a model's that was moved by hand")
    line: Line | None = Field(None, description="surface and deepest, (row, column) in pixels of the finest level")
    um_per_px: tuple[Length, Length] | None = Field(None, description="along rows and columns, when it was measured")
    mm: Length | None = Field(None, description="Breslow thickness")
    interval_mm: Interval | None = None
    at_least: bool = Field(False, description="the melanoma reaches the edge of the section: it may be thicker")
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    clark_by: Literal["", "estimate", "hand"] = ""
    margins: Margins = Margins()
    mitoses: Mitoses = Mitoses()
    notes: str = ""
    history: tuple[Change, ...] = ()


class SlideDepth(Config):
    """All readings of a slide, each reader's apart."""

    format_version: Literal[1] = 1
    fingerprint: str = Field("", description="of the slide")
    readings: tuple[Reading, ...] = ()

    def of(self, reader: str) -> Reading | None:
        """Find what one reader says.

        None where that reader set nothing yet.
        """
        return next((one for one in self.readings if one.reader == reader), None)


class Proposal(Config):
    """A line that the analysis found, as ``result.json`` has it: where a thickness may be measured."""

    line: Line
    mm: Length
    interval_mm: Interval | None = None
    at_least: bool = False
    ulcerated: bool | None = None
    section: int | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()


class Proposed(Config):
    """What the analysis of a slide says of the depth; ``clark`` is its estimate, ``notes`` say why there is nothing."""

    proposals: tuple[Proposal, ...] = ()
    ulcerated: bool | None = None
    clark: int | None = Field(None, ge=1, le=5)
    notes: tuple[str, ...] = ()
    validity: Validity = Validity()


def read_depth(folder: Path) -> SlideDepth:
    """Read what was measured.

    Empty where nothing was measured.
    """
    path = folder / DEPTH
    if not path.is_file():
        return SlideDepth()
    try:
        return SlideDepth.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(f"{path} cannot be read as readings of depth: {reason_of(error)}") from error


def write_depth(folder: Path, depth: SlideDepth) -> None:
    """Keep what was measured, atomically."""
    write_json(folder / DEPTH, depth.model_dump(mode="json"))


def proposed(content: Mapping[str, Any]) -> Proposed:
    """Read what an analysis says of the depth.

    Returns the best line first; empty where the analysis says nothing of the depth. What cannot be understood is left
    out.
    """
    told = content.get("depth")
    told = told if isinstance(told, Mapping) else {}
    listed = told.get("candidates")
    found = [_proposal(one) for one in (listed if isinstance(listed, list) else [])]
    clark, ulcerated = told.get("clark_estimate"), told.get("ulceration")
    notes = told.get("notes")
    return Proposed(
        proposals=tuple(one for one in found if one is not None),
        ulcerated=ulcerated if isinstance(ulcerated, bool) else None,
        clark=clark if isinstance(clark, int) and 1 <= clark <= 5 else None,
        notes=tuple(str(one) for one in (notes if isinstance(notes, list) else [])),
        validity=(Validity.from_json(told.get("validity")) or validity_in(content)) if told else Validity(),
    )


def _proposal(values: Any) -> Proposal | None:  # noqa: ANN401 - whatever JSON can hold
    """A line of an analysis, or None where it is none."""
    if not isinstance(values, Mapping):
        return None
    kept = {key: values[key] for key in Proposal.model_fields if key in values}
    try:
        return Proposal.parse({**kept, "line": (values.get("surface"), values.get("deepest"))}, "result.json")
    except ConfigError:
        return None
