"""The risk prediction of a slide, ``risk.json`` in its folder, its heatmaps, and the current inputs of a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import SlideDepthProposals, SlideDepthReadings, latest_reading
from napari_melanoma.extensions.risk.inputs import make_slide_case, values_from_reading
from napari_melanoma.extensions.risk.maps import RiskMap, read_risk_maps
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction
from napari_melanoma.slides.depth_readings import UNKNOWN_DEPTH, KnownDepth, is_complete_risk
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.results import list_tumors
from napari_melanoma.slides.slide_content import read_proposals


@dataclass(frozen=True)
class StoredRisk:
    """The stored risk of a slide, and the current inputs of a new prediction.

    ``depth``: current depth from readings and analysis. ``n_patches``: number of thickness lines and lesions at which
    patches can be cut. ``result``, ``prediction``: content of the JSON files; empty if there are none.
    ``maps``: the heatmaps of the prediction by their method. ``fault``: why a file cannot be read; empty if all can.
    ``findings``: Clark level, ulceration and mitoses that a reader has set, column to cell.
    """

    depth: KnownDepth = UNKNOWN_DEPTH
    n_patches: int = 0
    result: Mapping[str, Any] = field(default_factory=dict)
    prediction: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, RiskMap] = field(default_factory=dict)
    fault: str = ""
    findings: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_other_findings(self) -> bool:
        """Whether a reader has set findings that differ from those of the prediction; others may be of a table."""
        known = self.prediction.get("known") or {}
        columns = {*known, *(self.prediction.get("missing") or ())}
        return any(
            name in columns and not _cells_equal(str(known.get(name, "")), cell) for name, cell in self.findings.items()
        )

    def with_depth(
        self, readings: SlideDepthReadings, proposals: SlideDepthProposals, row: Mapping[str, str]
    ) -> StoredRisk:
        """Return the same risk with the depth of other readings, proposals of the analysis, or patient data."""
        reading = latest_reading(readings)
        case = make_slide_case(reading, proposals, self.result, row)
        tumors = [lesion for lesion in list_tumors(case.analysis) if lesion.get("seed_row_px") is not None]
        n_patches = len(case.lines) + len(tumors)
        return replace(self, depth=case.depth, n_patches=n_patches, findings=values_from_reading(reading))


def _cells_equal(one: str, other: str) -> bool:
    return one == other or read_number(one) == read_number(other)


def read_risk(folder: Path) -> StoredRisk:
    """Read the risk of a slide; an unreadable prediction is reported in ``fault``."""
    try:
        readings, proposals = read_findings(folder), read_proposals(folder)
    except InputError as error:
        return StoredRisk(fault=str(error))
    risk = StoredRisk(result=read_analysis(folder)).with_depth(readings, proposals, {})
    prediction = read_risk_prediction(folder / RISK_FILE)
    if not prediction:
        fault = f"{RISK_FILE} cannot be read. Estimate the risk again." if (folder / RISK_FILE).is_file() else ""
        return replace(risk, fault=fault)
    if not is_complete_risk(prediction):
        return replace(risk, fault=f"{RISK_FILE} has an unexpected format. Estimate the risk again.")
    return replace(risk, prediction=prediction, maps=read_risk_maps(folder, prediction))


def patch_boxes(prediction: Mapping[str, Any]) -> list[Box]:
    """Return the boxes of the patches of a prediction in pixels of the finest level."""
    return [Box(*(int(value) for value in patch["box"])) for patch in prediction["patches"] if patch.get("box")]
