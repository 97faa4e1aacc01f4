"""The depth (Breslow thickness) that is known of a slide, with its source, and that which a network predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.depth.readings import DepthReading, SlideDepthProposals, latest_reading
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction, read_slide_result
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.synoptic_files import read_depth

DepthSource = Literal["reader", "automatic", "metadata", "predicted", "unknown"]
DEPTH_SOURCES: dict[DepthSource, str] = {
    "reader": "measured by {}",
    "automatic": "measured by the analysis of the slide",
    "metadata": "from the patient table",
    "predicted": "predicted by the network from the image",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class KnownDepth:
    """The depth (Breslow thickness) used for a prediction, and its source.

    ``mm``: None if unknown. ``at_least``: whether the depth may be greater. ``reader``: who measured it. ``not_valid``:
    why a depth of the slide analysis is not valid; empty if it is valid.
    """

    mm: float | None
    source: DepthSource
    interval_mm: tuple[float, float] | None = None
    at_least: bool = False
    reader: str = ""
    not_valid: str = ""

    @property
    def description(self) -> str:
        """Depth and source, such as ``depth 1.80 mm, measured by A``; without the number if it is not valid."""
        source = DEPTH_SOURCES[self.source].format(self.reader or "a reader without a name")
        if self.not_valid:
            return f"{self.not_valid} (depth {source})"
        if self.mm is None:
            return f"depth {source}"
        return f"depth {format_thickness(self.mm, self.interval_mm, at_least=self.at_least)}, {source}"


UNKNOWN_DEPTH = KnownDepth(None, "unknown")


def read_known_depth(folder: Path) -> KnownDepth:
    """Read the depth of a slide from its results: that of the latest reading, else that of the analysis."""
    reading, proposals = latest_reading(read_depth(folder)), read_proposals(folder)
    return depth_from_reading(reading) or depth_from_analysis(read_slide_result(folder), proposals) or UNKNOWN_DEPTH


def depth_from_reading(reading: DepthReading | None) -> KnownDepth | None:
    """Return the depth of a reading; None if there is none."""
    if reading is None or reading.mm is None:
        return None
    return KnownDepth(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def find_validity(content: Mapping[str, Any], proposals: SlideDepthProposals) -> Validity:
    """Return the validity of the analysis of a slide and of the depth that it measured."""
    return proposals.validity.with_reasons(read_validity(content))


def depth_from_analysis(content: Mapping[str, Any], proposals: SlideDepthProposals) -> KnownDepth | None:
    """Return the depth that an analysis measured; None if it measured none. ``content``: of its ``result.json``."""
    validity = find_validity(content, proposals)
    not_valid = "" if validity.valid else validity.headline("")
    best = proposals.proposals[0] if proposals.proposals else None
    mm = content.get("breslow_mm")
    if isinstance(mm, int | float):
        ends = content.get("breslow_interval_mm")
        interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
        return KnownDepth(float(mm), "automatic", interval, best is not None and best.at_least, not_valid=not_valid)
    if best is None:
        return None
    return KnownDepth(best.mm, "automatic", best.interval_mm, best.at_least, not_valid=not_valid)


DEEPEST_PATCH, LESION_PATCH = "deepest place", "lesion"  # where a patch was cut
PATCH_POSITIONS = {DEEPEST_PATCH: " at the deepest position", LESION_PATCH: " at a lesion"}
MEASURED_SOURCES = ("reader", "automatic")  # sources of a depth that was measured along a line
SAME_MM = 1e-4  # tolerance for equal depths


@dataclass(frozen=True)
class NetworkDepth:
    """The depth in mm that the network of a stored risk prediction predicted from the first patch.

    ``patch``: description of the patch. ``known``: the depth that was known at the time of the prediction. ``mpp``: the
    scale that was set for the slide at that time; None if the scale of its file was used.
    """

    mm: float
    model: str
    validity: Validity
    patch: str
    known: KnownDepth
    mpp: float | None

    def describe(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the depth and its difference from a reading, or why the prediction is not valid.

        ``reading``: the current reading, else the first line of the analysis. ``size``: current pixel size.
        """
        origin = f"Predicted by {self.model} from a patch{PATCH_POSITIONS.get(self.patch, '')}"
        if not self.validity.valid:
            return f"{origin}: {self.validity.headline('')}."
        return f"{origin}: {self.mm:.2f} mm{self._describe_difference(reading, size)}."

    def _describe_difference(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the difference from a confirmed reading, or why the two cannot be compared."""
        known_mm = self.known.mm if self.known.source in MEASURED_SOURCES else None
        if known_mm is None or reading.mm is None:
            is_same = known_mm == reading.mm
        else:
            is_same = abs(known_mm - reading.mm) < SAME_MM
        if not is_same and self.known.reader not in ("", reading.reader):
            return ", of the line of another reader"
        if not is_same or self._is_rescaled(size):
            return f"{'' if known_mm is None else ', of an earlier line'}; estimate the risk again"
        if reading.mm is None or not reading.when or reading.at_least or self.patch != DEEPEST_PATCH:
            return ""
        return f" ({self.mm - reading.mm:+.2f} mm)"

    def _is_rescaled(self, size: PixelSize | None) -> bool:
        """Whether the scale was changed since the prediction."""
        if size is None:
            return True
        if self.mpp is None:
            return size.source in ("given", "ruler")
        return not math.isclose(self.mpp, size.x_um, rel_tol=1e-6)


def read_network_depth(folder: Path) -> NetworkDepth | None:
    """Read the depth that a network predicted for a slide; None if there is none, or if the file is incomplete."""
    prediction = read_risk_prediction(folder / RISK_FILE)
    if not is_complete_risk(prediction) or not prediction["patches"]:
        return None
    first, depth, mpp = prediction["patches"][0], prediction["depth"], prediction["options"].get("mpp")
    if first.get("depth_mm") is None:
        return None
    return NetworkDepth(
        float(first["depth_mm"]),
        str(prediction["model"].get("name") or "a network"),
        read_validity(prediction),
        str(first.get("what", "")),
        KnownDepth(depth.get("mm"), depth.get("source", "unknown"), reader=str(depth.get("reader") or "")),
        mpp if _is_number(mpp) else None,
    )


def is_complete_risk(prediction: Mapping[str, Any]) -> bool:
    """Return whether a risk prediction (``risk.json``) has all values that are displayed, of the expected types."""
    model = prediction.get("model")
    types = {"patches": list, "known": dict, "comparators": dict, "depth": dict, "options": dict, "verdict": str}
    return (
        _is_number(prediction.get("probability"))
        and isinstance(model, dict)
        and "fingerprint" in model
        and all(isinstance(prediction.get(name), expected_type) for name, expected_type in types.items())
        and all(isinstance(prediction.get(name) or [], list) for name in ("warnings", "missing"))
        and _is_number(prediction["depth"].get("mm") or 0)
        and all(map(_is_complete_patch, prediction["patches"]))
    )


def _is_complete_patch(patch: object) -> bool:
    return isinstance(patch, dict) and _is_number(patch.get("probability")) and _is_number(patch.get("depth_mm") or 0)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and math.isfinite(value)
