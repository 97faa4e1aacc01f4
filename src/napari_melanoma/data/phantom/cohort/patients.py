"""The patients of a cohort: drawn all at once, before any image, so that they do not depend on how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.law import LAW, SITES, Facts, draw_facts
from napari_melanoma.data.phantom.streams import stream

Ints = NDArray[np.integer[Any]]
# Candidates for each place: half have a metastasis, and the surplus of either class is left out.
_CANDIDATES = 3


@dataclass(frozen=True)
class Patient:
    """One patient.

    ``probability`` is the law's, ``necrosis`` the share of the tumour that has died, ``seed`` that of the slide,
    ``fold`` from 1, and 0 for who is kept back.
    """

    name: str
    seed: int
    age: int
    sex: str
    site: str
    depth_mm: float
    ulcerated: bool
    mitoses_per_mm2: float
    necrosis: float
    probability: float
    metastasis: bool
    split: str = "train"
    fold: int = 0


def draw_patients(config: CohortConfig) -> tuple[Patient, ...]:
    """Draw the patients of a cohort.

    Half of them with a metastasis, in the whole, among those kept back and in each fold, as far as numbers allow. With
    ``random_labels`` they are the same patients, and who has a metastasis is shuffled within each part.
    """
    found = _balanced(config)
    patients = _divided(config, found)
    return _shuffled(config, patients) if config.random_labels else patients


def facts_of(patients: tuple[Patient, ...]) -> Facts:
    """Gather what the law looks at.

    In their order.
    """
    return Facts(
        np.array([patient.age for patient in patients], float),
        np.array([patient.sex == "male" for patient in patients]),
        np.array([SITES.index(patient.site) for patient in patients]),
        np.array([patient.depth_mm for patient in patients]),
        np.array([patient.ulcerated for patient in patients]),
        np.array([patient.necrosis > 0 for patient in patients]),
    )


def _balanced(config: CohortConfig) -> list[Patient]:
    """As many with as without a metastasis, in the order in which they were drawn."""
    rng = stream(config.seed, "cohort")
    number = _CANDIDATES * config.count + 60
    facts = draw_facts(rng, number)
    probability = LAW.probability(facts)
    metastasis = rng.random(number) < probability
    mitoses = np.round(rng.uniform(0, 3, number) + 4 * rng.random(number) * facts.depth_mm, 1)
    dead = np.where(facts.necrotic, np.round(rng.uniform(0.12, 0.30, number), 3), 0.0)
    seeds = rng.integers(2**32, 2**52, number)
    half = config.count // 2
    kept = np.sort(
        np.concatenate([np.flatnonzero(metastasis)[: config.count - half], np.flatnonzero(~metastasis)[:half]])
    )
    one = {field.name: getattr(facts, field.name) for field in fields(facts)}
    return [
        Patient(
            name=f"phantom_{config.seed}_{place:05d}",
            seed=int(seeds[number]),
            age=int(one["age"][number]),
            sex="male" if one["male"][number] else "female",
            site=SITES[one["site"][number]],
            depth_mm=float(one["depth_mm"][number]),
            ulcerated=bool(one["ulcerated"][number]),
            mitoses_per_mm2=float(mitoses[number]),
            necrosis=float(dead[number]),
            probability=float(probability[number]),
            metastasis=bool(metastasis[number]),
        )
        for place, number in enumerate(kept.tolist(), start=1)
    ]


def _divided(config: CohortConfig, patients: list[Patient]) -> tuple[Patient, ...]:
    """Keep a share of each class back, and deal the others out among the folds."""
    rng = stream(config.seed, "splits")
    divided = list(patients)
    dealt = 0
    for event in (False, True):
        own = rng.permutation([place for place, patient in enumerate(patients) if patient.metastasis == event]).tolist()
        back = round(config.test_share * len(own))
        for place in own[:back]:
            divided[place] = replace(divided[place], split="test")
        for place in own[back:]:
            divided[place] = replace(divided[place], fold=1 + dealt % config.folds)
            dealt += 1
    return tuple(divided)


def _shuffled(config: CohortConfig, patients: tuple[Patient, ...]) -> tuple[Patient, ...]:
    """Shuffle who has a metastasis within each fold and among those kept back; nobody can do better than chance."""
    rng = stream(config.seed, "random labels")
    shuffled = list(patients)
    for fold in range(config.folds + 1):
        own = [place for place, patient in enumerate(patients) if patient.fold == fold]
        events = rng.permutation([patients[place].metastasis for place in own]).tolist()
        for place, event in zip(own, events, strict=True):
            shuffled[place] = replace(patients[place], metastasis=bool(event), probability=0.5)
    return tuple(shuffled)
