"""The risk law of a synthetic cohort: how metastasis depends on risk factors, and patients sampled from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.phantoms.skin_texture import random_stream

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
SITES = ("head/neck", "upper extremity", "lower extremity", "anterior torso", "posterior torso", "palms/soles")
_SITE_SHARES = (0.20, 0.19, 0.22, 0.13, 0.20, 0.06)
NECROTIC_FROM_MM = 0.5  # thinner melanomas have no space for visible necrosis
_DEPTHS_MM = 0.2, 6.0  # range of the thickness
_TYPICAL_MM, _TYPICAL_AGE = 1.1, 60.0
_SIMULATED = 200_000  # patients, enough for three decimals of an area under the curve


@dataclass(frozen=True)
class RiskFactors:
    """Variables of the law, arrays (patient,); ``site`` is an index into ``SITES``."""

    age: Floats
    male: Bools
    site: NDArray[np.integer[Any]]
    depth_mm: Floats
    ulcerated: Bools
    necrotic: Bools


@dataclass(frozen=True)
class RiskLaw:
    """A logistic law: coefficients of the log odds of a metastasis.

    ``log_depth`` applies to the natural logarithm of the thickness relative to 1.1 mm, ``decade`` to ten years of age
    relative to 60, ``site`` to each of ``SITES``. ``necrotic_share`` is the frequency of necrosis in melanomas of at
    least 0.5 mm; thinner ones have none. The outcome is sampled with the probability of the law, which is equivalent to
    logistic noise of standard deviation 1.81 on the log odds.
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
        """Return the log odds from age, sex and site, float64 (patient,)."""
        return self.decade * (facts.age - _TYPICAL_AGE) / 10 + self.male * facts.male + np.array(self.site)[facts.site]

    def tumor_log_odds(self, facts: RiskFactors) -> Floats:
        """Return the log odds from thickness and ulceration, with the intercept, float64 (patient,)."""
        return (
            self.intercept + self.log_depth * np.log(facts.depth_mm / _TYPICAL_MM) + self.ulceration * facts.ulcerated
        )

    def probability(self, facts: RiskFactors) -> Floats:
        """Return the probability of a metastasis, which is the optimal prediction, float64 (patient,)."""
        return logistic(self.patient_log_odds(facts) + self.tumor_log_odds(facts) + self.necrosis * facts.necrotic)

    def probability_without_image(self, facts: RiskFactors) -> Floats:
        """Return the optimal prediction from the table alone, the mean over possible images, float64 (patient,)."""
        log_odds = self.patient_log_odds(facts) + self.tumor_log_odds(facts)
        necrosis_share = np.where(facts.depth_mm >= NECROTIC_FROM_MM, self.necrotic_share, 0.0)
        return (1 - necrosis_share) * logistic(log_odds) + necrosis_share * logistic(log_odds + self.necrosis)


LAW = RiskLaw()


class CohortConfig(Config):
    """Options of a cohort; equal values give the same patients, images and labels."""

    seed: int = Field(0, ge=0, description="seed of all random choices")
    count: int = Field(400, ge=10, le=100_000, description="patients, half of them with a metastasis")
    random_labels: bool = Field(
        False, description="shuffle metastases, so that no prediction is possible: a negative control"
    )
    patch_px: int = Field(512, ge=64, le=3000, description="height and width of a patch in pixels")
    patch_mm: float = Field(3.0, ge=0.5, le=6.0, description="height and width of a patch in mm, as P3 cuts them")
    test_share: float = Field(
        0.2, ge=0, le=0.8, description="share of patients for the test set, in looks never trained on"
    )
    folds: int = Field(5, ge=2, le=20, description="folds of the other patients for cross-validation")
    slides: int = Field(0, ge=0, description="number of test patients with whole slides")


def logistic(log_odds: Floats) -> Floats:
    """Convert log odds to probabilities."""
    return 1 / (1 + np.exp(-log_odds))


def draw_risk_factors(rng: np.random.Generator, count: int) -> RiskFactors:
    """Sample the risk factors of patients.

    The factors are independent, with two exceptions: thick melanomas are ulcerated more often, and melanomas below
    0.5 mm have no necrosis. Ages are whole years, and the thickness is rounded to hundredths of a millimeter.
    """
    age = np.rint(np.clip(rng.normal(_TYPICAL_AGE, 15, count), 18, 95))
    male = rng.random(count) < 0.54
    site = rng.choice(len(SITES), count, p=_SITE_SHARES)
    depth = np.round(np.exp(rng.uniform(np.log(_DEPTHS_MM[0]), np.log(_DEPTHS_MM[1]), count)), 2)
    ulcerated = rng.random(count) < logistic(-1.2 + 1.1 * np.log(depth / _TYPICAL_MM))
    necrotic = (rng.random(count) < LAW.necrotic_share) & (depth >= NECROTIC_FROM_MM)
    return RiskFactors(age, male, site, depth, ulcerated, necrotic)


def optimal_scores(facts: RiskFactors) -> dict[str, Floats]:
    """Return the optimal scores from parts of the information; only the order of the patients in a score has a meaning.

    Returns float (patient,) by the information used: ``all``, ``table`` (all but the image), ``image`` (thickness,
    ulceration and necrosis as visible in the image), ``tumour`` (thickness and ulceration), ``depth``, ``patient``,
    ``necrosis``.
    """
    tumor = LAW.tumor_log_odds(facts)
    return {
        "all": LAW.probability(facts),
        "table": LAW.probability_without_image(facts),
        "image": tumor + LAW.necrosis * facts.necrotic,
        "tumour": tumor,
        "depth": facts.depth_mm,
        "patient": LAW.patient_log_odds(facts),
        "necrosis": facts.necrotic.astype(float),
    }


def area_under_curve(scores: Floats, truth: Bools) -> float | None:
    """Calculate the area under the ROC curve; ties count half.

    ``truth``: bool (patient,). Returns ``None`` for a single class.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(truth.sum())
    pairs = positives * (len(truth) - positives)
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def expected_aucs() -> dict[str, float | None]:
    """Calculate the areas under the curve of ``optimal_scores`` for an infinite cohort, by the information used."""
    rng = np.random.default_rng(0)
    facts = draw_risk_factors(rng, _SIMULATED)
    truth = rng.random(_SIMULATED) < LAW.probability(facts)
    return {name: area_under_curve(score, truth) for name, score in optimal_scores(facts).items()}


# Two readers of the depth: the mean of each relative to the truth; the relative standard deviation of a reading, chosen
# for the agreement in Scolyer et al. 2003 (ICC 0.96); and the step to which depths are rounded.
READER_BIAS = (1.02, 0.98)
READER_SD = 0.12
READER_STEP_MM = 0.1


def draw_depth_readings(rng: np.random.Generator, depth_mm: Floats) -> Floats:
    """Sample the depths that two readers report for the same slides, in mm.

    The errors are relative, log-normal and independent between readers.

    Returns float64 (patient, reader).
    """
    spread = READER_SD * rng.standard_normal((len(depth_mm), len(READER_BIAS)))
    read = depth_mm[:, None] * np.array(READER_BIAS) * np.exp(spread - READER_SD**2 / 2)
    return np.maximum(np.rint(read / READER_STEP_MM), 1) * READER_STEP_MM


_CANDIDATES = 3  # sampled for each patient of a cohort, so that there are enough of both classes


@dataclass(frozen=True)
class Patient:
    """One patient of a cohort.

    ``seed``: of the slide; ``necrosis``: necrotic share of the tumor; ``probability``: of a metastasis, by the law, or
    0.5 with random labels; ``readings_mm``: depths that two readers report; ``fold``: from 1, and 0 for test patients.
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
    readings_mm: tuple[float, ...] = ()
    split: str = "train"
    fold: int = 0


def draw_patients(config: CohortConfig) -> tuple[Patient, ...]:
    """Sample the patients of a cohort.

    Half of them have a metastasis: overall, in the test set and in each fold, as far as numbers allow. With
    ``random_labels`` the patients are the same, and metastases are shuffled within each fold and the test set.
    """
    patients = _assign_splits(config, _draw_balanced(config))
    return _shuffle_labels(config, patients) if config.random_labels else patients


def collect_risk_factors(patients: tuple[Patient, ...]) -> RiskFactors:
    """Collect the variables of the law, in the order of the patients."""
    return RiskFactors(
        np.array([patient.age for patient in patients], float),
        np.array([patient.sex == "male" for patient in patients]),
        np.array([SITES.index(patient.site) for patient in patients]),
        np.array([patient.depth_mm for patient in patients]),
        np.array([patient.ulcerated for patient in patients]),
        np.array([patient.necrosis > 0 for patient in patients]),
    )


def _draw_balanced(config: CohortConfig) -> list[Patient]:
    """Sample as many patients with as without a metastasis, in random order."""
    rng = random_stream(config.seed, "cohort")
    count = _CANDIDATES * config.count + 60
    facts = draw_risk_factors(rng, count)
    probability = LAW.probability(facts)
    metastasis = rng.random(count) < probability
    mitoses = np.round(rng.uniform(0, 3, count) + 4 * rng.random(count) * facts.depth_mm, 1)
    necrosis = np.where(facts.necrotic, np.round(rng.uniform(0.12, 0.30, count), 3), 0.0)
    seeds = rng.integers(2**32, 2**52, count)
    readings = draw_depth_readings(random_stream(config.seed, "readers"), facts.depth_mm)
    half = config.count // 2
    chosen = np.sort(
        np.concatenate([np.flatnonzero(metastasis)[: config.count - half], np.flatnonzero(~metastasis)[:half]])
    )
    return [
        Patient(
            name=f"phantom_{config.seed}_{number:05d}",
            seed=int(seeds[index]),
            age=int(facts.age[index]),
            sex="male" if facts.male[index] else "female",
            site=SITES[facts.site[index]],
            depth_mm=float(facts.depth_mm[index]),
            ulcerated=bool(facts.ulcerated[index]),
            mitoses_per_mm2=float(mitoses[index]),
            necrosis=float(necrosis[index]),
            probability=float(probability[index]),
            metastasis=bool(metastasis[index]),
            readings_mm=tuple(readings[index].tolist()),
        )
        for number, index in enumerate(chosen.tolist(), start=1)
    ]


def _assign_splits(config: CohortConfig, patients: list[Patient]) -> tuple[Patient, ...]:
    """Assign a share of each class to the test set, and the others to folds."""
    rng = random_stream(config.seed, "splits")
    with_split = list(patients)
    in_folds = 0
    for event in (False, True):
        indices = [index for index, patient in enumerate(patients) if patient.metastasis == event]
        indices = rng.permutation(indices).tolist()
        test_count = round(config.test_share * len(indices))
        for index in indices[:test_count]:
            with_split[index] = replace(with_split[index], split="test")
        for index in indices[test_count:]:
            with_split[index] = replace(with_split[index], fold=1 + in_folds % config.folds)
            in_folds += 1
    return tuple(with_split)


def _shuffle_labels(config: CohortConfig, patients: tuple[Patient, ...]) -> tuple[Patient, ...]:
    """Shuffle metastases within each fold and the test set, so that no prediction is better than chance."""
    rng = random_stream(config.seed, "random labels")
    shuffled = list(patients)
    for fold in range(config.folds + 1):
        indices = [index for index, patient in enumerate(patients) if patient.fold == fold]
        events = rng.permutation([patients[index].metastasis for index in indices]).tolist()
        for index, event in zip(indices, events, strict=True):
            shuffled[index] = replace(patients[index], metastasis=bool(event), probability=0.5)
    return tuple(shuffled)
