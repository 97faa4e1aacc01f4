"""Breslow thickness by geometry, on the map of tissue classes of a slide: where it can be checked."""

from __future__ import annotations

from napari_melanoma.analysis.breslow.candidate import DepthCandidate, DepthFindings
from napari_melanoma.analysis.breslow.candidates import breslow_candidates, measure_depth
from napari_melanoma.analysis.breslow.category import straddles, t_category
from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.maps import TissueMaps
from napari_melanoma.analysis.breslow.roles import ClassRoles

__all__ = [
    "ClassRoles",
    "DepthCandidate",
    "DepthConfig",
    "DepthFindings",
    "TissueMaps",
    "breslow_candidates",
    "measure_depth",
    "straddles",
    "t_category",
]
