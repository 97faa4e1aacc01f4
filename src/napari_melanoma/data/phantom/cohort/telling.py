"""What ``cohort.json`` says of a cohort: the law, its noise, and how well anybody can do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.law import (
    LAW,
    NECROTIC_FROM_MM,
    SITES,
    answers,
    area_under_curve,
    expected_areas,
)
from napari_melanoma.data.phantom.cohort.patients import Patient, facts_of

_PATCH = (
    "the upper edge lies 0.2 mm above the surface end of the line of measure, the middle of that line in the middle "
    "column; of a melanoma too thick for 3 mm the deepest point is out of view (depth_in_view 0)"
)
_LOOKS = "split train: looks of the family 'train'; split test: looks of the family 'test', which training never sees"


def story(config: CohortConfig, patients: tuple[Patient, ...]) -> dict[str, Any]:
    """Tell how a cohort came about.

    Of dicts, lists, strings and numbers. ``bayes_auc`` is what the best answers reach in a cohort without end, by what
    they know; ``auc_of_these`` what they reach on these patients, ``auc_of_test`` on those kept back.
    """
    law = asdict(LAW) | {"site": dict(zip(SITES, LAW.site, strict=True)), "necrosis_from_mm": NECROTIC_FROM_MM}
    chance = 0.5 if config.random_labels else None
    return {
        "law": law,
        "formula": "log odds = intercept + log_depth ln(depth_mm / 1.1) + ulceration [ulcerated] "
        "+ decade (age - 60) / 10 + male [male] + site [site] + necrosis [necrosis in the tumour]",
        "noise": "the label is drawn with that probability: logistic noise of standard deviation 1.81 on the log odds",
        "labels": "shuffled within each fold and split: nothing can be learnt"
        if config.random_labels
        else "drawn from the law",
        "bayes_auc": {name: chance or value for name, value in expected_areas().items()},
        "auc_of_these": _areas(patients),
        "auc_of_test": _areas(tuple(patient for patient in patients if patient.split == "test")),
        "patch": _PATCH,
        "looks": _LOOKS,
        "files": {
            "masks": "necrosis, 0 and 255, of patients who have some in view",
            "tumour": "the tumour, 0 and 255",
            "truth": "all that is true of each slide",
            "truth.csv": "the law's probability and the necrosis of each patient; nothing may be learnt from it",
        },
    }


def _areas(patients: tuple[Patient, ...]) -> dict[str, float | None]:
    """Areas under the curve of the best answers on some patients."""
    if not patients:
        return {}
    truth = np.array([patient.metastasis for patient in patients])
    return {name: area_under_curve(answer, truth) for name, answer in answers(facts_of(patients)).items()}
