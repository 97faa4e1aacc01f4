"""A synthetic cohort: patients with a phantom slide each, and a metastasis by a known risk law."""

from __future__ import annotations

from napari_melanoma.phantoms.cohort.risk_law import LAW, CohortConfig, Patient, RiskLaw, draw_patients

__all__ = ["LAW", "CohortConfig", "Patient", "RiskLaw", "draw_patients"]
