"""Patients: balanced, split without leaks, reproducible; and a control that cannot be predicted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.metrics.agreement import intraclass_correlation
from napari_melanoma.phantoms.cohort import (
    CohortConfig,
    Patient,
    area_under_curve,
    collect_risk_factors,
    draw_patients,
    make_slide_config,
    optimal_scores,
)

CONFIG = CohortConfig(seed=3, count=600)


@pytest.fixture(scope="module")
def patients() -> tuple[Patient, ...]:
    return draw_patients(CONFIG)


def areas(patients: tuple[Patient, ...]) -> dict[str, float]:
    truth = np.array([patient.metastasis for patient in patients])
    return {
        name: area_under_curve(answer, truth) or 0
        for name, answer in optimal_scores(collect_risk_factors(patients)).items()
    }


def test_the_same_seed_gives_the_same_patients_and_another_gives_others(patients: tuple[Patient, ...]) -> None:
    assert draw_patients(CONFIG) == patients
    assert draw_patients(CONFIG.model_copy(update={"seed": 4})) != patients


def test_half_have_a_metastasis_in_every_part(patients: tuple[Patient, ...]) -> None:
    parts = Counter((patient.split, patient.fold, patient.metastasis) for patient in patients)
    assert {key: parts[key] for key in parts if key[0] == "test"} == {("test", 0, True): 60, ("test", 0, False): 60}
    assert {parts[("train", fold, event)] for fold in range(1, 6) for event in (True, False)} == {48}


def test_names_and_seeds_of_slides_are_unique(patients: tuple[Patient, ...]) -> None:
    assert len({patient.name for patient in patients}) == len({patient.seed for patient in patients}) == 600


def test_values_are_those_that_a_clinic_could_have(patients: tuple[Patient, ...]) -> None:
    for patient in patients:
        assert 18 <= patient.age <= 95
        assert 0.2 <= patient.depth_mm <= 6
        assert 0 <= patient.mitoses_per_mm2 <= 30
        assert patient.necrosis == 0 or (0.12 <= patient.necrosis <= 0.30 and patient.depth_mm >= 0.5)
    logs = np.log([patient.depth_mm for patient in patients])
    assert np.quantile(logs, [0.25, 0.5, 0.75]) == pytest.approx(np.log([0.47, 1.1, 2.56]), abs=0.2)


def test_these_patients_follow_the_law(patients: tuple[Patient, ...]) -> None:
    found = areas(patients)
    assert found["all"] > 0.9
    assert max(found["depth"], found["patient"], found["necrosis"]) < 0.85
    chance = np.array([patient.probability for patient in patients])
    events = np.array([patient.metastasis for patient in patients])
    assert chance[events].mean() == pytest.approx((chance**2).sum() / chance.sum(), abs=0.04)


def test_the_control_has_the_same_patients_and_random_labels(patients: tuple[Patient, ...]) -> None:
    control = draw_patients(CONFIG.model_copy(update={"random_labels": True}))
    assert [replace(one, metastasis=True, probability=0) for one in control] == [
        replace(one, metastasis=True, probability=0) for one in patients
    ]
    assert {one.probability for one in control} == {0.5}
    assert Counter((one.fold, one.metastasis) for one in control) == Counter((p.fold, p.metastasis) for p in patients)
    assert all(abs(area - 0.5) < 0.08 for area in areas(control).values())


def test_test_patients_have_unseen_appearances(patients: tuple[Patient, ...]) -> None:
    families = {(one.split, make_slide_config(one, CONFIG).family) for one in patients[:60]}
    assert families == {("train", "train"), ("test", "test")}


def test_a_small_or_odd_cohort_is_divided_too() -> None:
    few = draw_patients(CohortConfig(count=11, test_share=0.0, folds=2))
    assert len(few) == 11
    assert Counter(one.fold for one in few) == {1: 6, 2: 5}


def test_two_readers_agree_as_pathologists_do() -> None:
    patients = draw_patients(CohortConfig(seed=3, count=800))
    readings = np.array([patient.readings_mm for patient in patients])
    depth = np.array([patient.depth_mm for patient in patients])
    agreement = intraclass_correlation(readings)
    assert agreement.low < 0.96 < agreement.high  # Scolyer et al. 2003
    assert readings.min() >= 0.1
    assert np.abs(readings * 10 - np.rint(readings * 10)).max() < 1e-9  # tenths of a millimeter
    first, second = (np.mean(read / depth) for read in readings.T)
    assert second < 1 < first
    assert abs(first - second) < 0.06
