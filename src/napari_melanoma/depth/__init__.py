"""Breslow thickness: geometry, T category and readings."""

from __future__ import annotations

from napari_melanoma.depth.candidates import DepthCandidate, DepthFindings, breslow_candidates, measure_depth
from napari_melanoma.depth.category import categories_in_interval, t_category
from napari_melanoma.depth.maps import ClassRoles, DepthMeasurementConfig, TissueMaps

__all__ = [
    "ClassRoles",
    "DepthCandidate",
    "DepthFindings",
    "DepthMeasurementConfig",
    "TissueMaps",
    "breslow_candidates",
    "categories_in_interval",
    "measure_depth",
    "t_category",
]
