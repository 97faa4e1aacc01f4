"""A synthetic cohort: patients with a phantom slide each, and a metastasis drawn from a law that is known."""

from __future__ import annotations

from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.law import LAW, RiskLaw
from napari_melanoma.data.phantom.cohort.patients import Patient, draw_patients

__all__ = ["LAW", "CohortConfig", "Patient", "RiskLaw", "draw_patients"]
