"""The law of the risk in a phantom cohort, and its patients."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.phantoms.plane import random_stream

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
SITES = ("head/neck", "upper extremity", "lower extremity", "anterior torso", "posterior torso", "palms/soles")
_SITE_SHARES = (0.20, 0.19, 0.22, 0.13, 0.20, 0.06)
# A thinner melanoma has no room for necrosis that could be seen.
NECROTIC_FROM_MM = 0.5
_DEPTHS_MM = 0.2, 6.0
_TYPICAL_MM, _TYPICAL_AGE = 1.1, 60.0
# Of an area under a curve that is told to three places.
_SIMULATED = 200_000


@dataclass(frozen=True)
class RiskFactors:
    """What the law looks at, an array (patient,) of each; ``site`` is an index into ``SITES``."""

    age: Floats
    male: Bools
    site: NDArray[np.integer[Any]]
    depth_mm: Floats
    ulcerated: Bools
    necrotic: Bools


@dataclass(frozen=True)
class RiskLaw:
    """A logistic law: the coefficients of the log odds of a metastasis.

    ``log_depth`` counts per e-fold of the thickness against 1.1 mm, ``decade`` per ten years of age against 60. The
    noise is that of the draw: of the logistic distribution, of standard deviation 1.81 in the unit of the log odds.
    ``necrosis`` is how often a melanoma of at least 0.5 mm has some; a thinner one has none.
    """

    intercept: float = -2.5
    log_depth: float = 1.2
    ulceration: float = 1.2
    decade: float = 1.0
    male: float = 1.2
    site: tuple[float, ...] = (1.4, -0.8, -0.8, 0.0, 0.8, 1.8)
    necrosis: float = 3.0
    necrotic_share: float = 0.6

    def patient_log_odds(self, facts: RiskFactors) -> Floats:
        """Log odds that age, sex and site add.

        Returns float64 (patient,).
        """
        return self.decade * (facts.age - _TYPICAL_AGE) / 10 + self.male * facts.male + np.array(self.site)[facts.site]

    def tumor_log_odds(self, facts: RiskFactors) -> Floats:
        """Log odds that thickness and ulceration add, with the intercept.

        Returns float64 (patient,).
        """
        return (
            self.intercept + self.log_depth * np.log(facts.depth_mm / _TYPICAL_MM) + self.ulceration * facts.ulcerated
        )

    def probability(self, facts: RiskFactors) -> Floats:
        """Probability of a metastasis: the best answer that anybody could give.

        Returns float64 (patient,).
        """
        return logistic(self.patient_log_odds(facts) + self.tumor_log_odds(facts) + self.necrosis * facts.necrotic)

    def probability_without_image(self, facts: RiskFactors) -> Floats:
        """Give the best answer of somebody who knows the table and has not seen the image.

        Returns float64 (patient,): the mean over what the image might show.
        """
        known = self.patient_log_odds(facts) + self.tumor_log_odds(facts)
        chance = np.where(facts.depth_mm >= NECROTIC_FROM_MM, self.necrotic_share, 0.0)
        return (1 - chance) * logistic(known) + chance * logistic(known + self.necrosis)


LAW = RiskLaw()


def logistic(log_odds: Floats) -> Floats:
    """Turn log odds into probabilities."""
    return 1 / (1 + np.exp(-log_odds))


def draw_risk_factors(rng: np.random.Generator, count: int, law: RiskLaw = LAW) -> RiskFactors:
    """Draw patients; who they are, how thick the tumour is and what the image shows do not depend on each other.

    But for two things: a thick melanoma is ulcerated more often, and one below 0.5 mm has no necrosis.

    Returns ages in whole years, thickness in hundredths of a millimetre.
    """
    age = np.rint(np.clip(rng.normal(_TYPICAL_AGE, 15, count), 18, 95))
    male = rng.random(count) < 0.54
    site = rng.choice(len(SITES), count, p=_SITE_SHARES)
    depth = np.round(np.exp(rng.uniform(np.log(_DEPTHS_MM[0]), np.log(_DEPTHS_MM[1]), count)), 2)
    ulcerated = rng.random(count) < logistic(-1.2 + 1.1 * np.log(depth / _TYPICAL_MM))
    necrotic = (rng.random(count) < law.necrotic_share) & (depth >= NECROTIC_FROM_MM)
    return RiskFactors(age, male, site, depth, ulcerated, necrotic)


def optimal_scores(facts: RiskFactors, law: RiskLaw = LAW) -> dict[str, Floats]:
    """Give the best answers that can be had from parts of what is known, each up to a rising function.

    Returns float (patient,) by what is known: ``all``, ``table`` (all but the image), ``image`` (thickness, ulceration
    and necrosis as the image shows them), ``tumour`` (thickness and ulceration), ``depth``, ``patient``, ``necrosis``.
    """
    tumour = law.tumor_log_odds(facts)
    return {
        "all": law.probability(facts),
        "table": law.probability_without_image(facts),
        "image": tumour + law.necrosis * facts.necrotic,
        "tumour": tumour,
        "depth": facts.depth_mm,
        "patient": law.patient_log_odds(facts),
        "necrosis": facts.necrotic.astype(float),
    }


def area_under_curve(scores: Floats, truth: Bools) -> float | None:
    """Area under the ROC curve: how often one with the event is ranked before one without, ties counting half.

    ``truth``: bool (patient,). Returns ``None`` where all are alike.
    """
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[which]
    positives = int(truth.sum())
    pairs = positives * (len(truth) - positives)
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def expected_aucs(law: RiskLaw = LAW, seed: int = 0) -> dict[str, float | None]:
    """Areas under the curve that the best answers reach in a cohort without end.

    By what is known, as ``answers`` has it.
    """
    rng = np.random.default_rng(seed)
    facts = draw_risk_factors(rng, _SIMULATED, law)
    truth = rng.random(_SIMULATED) < law.probability(facts)
    return {name: area_under_curve(answer, truth) for name, answer in optimal_scores(facts, law).items()}


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
    found = _draw_balanced(config)
    patients = _assign_splits(config, found)
    return _shuffle_labels(config, patients) if config.random_labels else patients


def collect_risk_factors(patients: tuple[Patient, ...]) -> RiskFactors:
    """Gather what the law looks at.

    In their order.
    """
    return RiskFactors(
        np.array([patient.age for patient in patients], float),
        np.array([patient.sex == "male" for patient in patients]),
        np.array([SITES.index(patient.site) for patient in patients]),
        np.array([patient.depth_mm for patient in patients]),
        np.array([patient.ulcerated for patient in patients]),
        np.array([patient.necrosis > 0 for patient in patients]),
    )


def _draw_balanced(config: CohortConfig) -> list[Patient]:
    """As many with as without a metastasis, in the order in which they were drawn."""
    rng = random_stream(config.seed, "cohort")
    number = _CANDIDATES * config.count + 60
    facts = draw_risk_factors(rng, number)
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


def _assign_splits(config: CohortConfig, patients: list[Patient]) -> tuple[Patient, ...]:
    """Keep a share of each class back, and deal the others out among the folds."""
    rng = random_stream(config.seed, "splits")
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


def _shuffle_labels(config: CohortConfig, patients: tuple[Patient, ...]) -> tuple[Patient, ...]:
    """Shuffle who has a metastasis within each fold and among those kept back; nobody can do better than chance."""
    rng = random_stream(config.seed, "random labels")
    shuffled = list(patients)
    for fold in range(config.folds + 1):
        own = [place for place, patient in enumerate(patients) if patient.fold == fold]
        events = rng.permutation([patients[place].metastasis for place in own]).tolist()
        for place, event in zip(own, events, strict=True):
            shuffled[place] = replace(patients[place], metastasis=bool(event), probability=0.5)
    return tuple(shuffled)


class CohortConfig(Config):
    """Which cohort to draw; the same values give the same patients, images and labels."""

    seed: int = Field(0, ge=0, description="what all is drawn from")
    count: int = Field(400, ge=10, le=100_000, description="patients, half of them with a metastasis")
    random_labels: bool = Field(
        False, description="shuffle who has a metastasis, so that nothing can be learnt: the control"
    )
    patch_px: int = Field(512, ge=64, le=3000, description="height and width of a patch in pixels")
    patch_mm: float = Field(3.0, ge=0.5, le=6.0, description="height and width of a patch in mm, as P3 cuts them")
    test_share: float = Field(0.2, ge=0, le=0.8, description="of the patients, kept back, in looks never trained on")
    folds: int = Field(5, ge=2, le=20, description="of the other patients, for a cross-validation")
    slides: int = Field(0, ge=0, description="whole slides of so many patients who are kept back")
