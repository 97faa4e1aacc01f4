"""Breslow thickness: geometry, T category and readings."""

from __future__ import annotations

from napari_melanoma.depth.candidates import DepthCandidate, DepthFindings, breslow_candidates, measure_depth
from napari_melanoma.depth.category import straddles, t_category
from napari_melanoma.depth.maps import ClassRoles, DepthConfig, TissueMaps

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
