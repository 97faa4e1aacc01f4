"""A synthetic cohort: patients with a phantom slide each, and a metastasis drawn from a law that is known."""

from __future__ import annotations

from napari_melanoma.phantoms.cohort.risk_law import LAW, CohortConfig, Patient, RiskLaw, draw_patients

__all__ = ["LAW", "CohortConfig", "Patient", "RiskLaw", "draw_patients"]
