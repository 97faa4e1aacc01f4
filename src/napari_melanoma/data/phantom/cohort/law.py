"""The law of the risk: how a patient, a tumour and what only the image shows add up to a metastasis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Truths = NDArray[np.bool_]

SITES = ("head/neck", "upper extremity", "lower extremity", "anterior torso", "posterior torso", "palms/soles")
_SITE_SHARES = (0.20, 0.19, 0.22, 0.13, 0.20, 0.06)
# A thinner melanoma has no room for necrosis that could be seen.
NECROTIC_FROM_MM = 0.5
_DEPTHS_MM = 0.2, 6.0
_TYPICAL_MM, _TYPICAL_AGE = 1.1, 60.0
# Of an area under a curve that is told to three places.
_SIMULATED = 200_000


@dataclass(frozen=True)
class Facts:
    """What the law looks at, an array (patient,) of each; ``site`` is an index into ``SITES``."""

    age: Floats
    male: Truths
    site: NDArray[np.integer[Any]]
    depth_mm: Floats
    ulcerated: Truths
    necrotic: Truths


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

    def patient_part(self, facts: Facts) -> Floats:
        """Log odds that age, sex and site add.

        Returns float64 (patient,).
        """
        return self.decade * (facts.age - _TYPICAL_AGE) / 10 + self.male * facts.male + np.array(self.site)[facts.site]

    def tumour_part(self, facts: Facts) -> Floats:
        """Log odds that thickness and ulceration add, with the intercept.

        Returns float64 (patient,).
        """
        return (
            self.intercept + self.log_depth * np.log(facts.depth_mm / _TYPICAL_MM) + self.ulceration * facts.ulcerated
        )

    def probability(self, facts: Facts) -> Floats:
        """Probability of a metastasis: the best answer that anybody could give.

        Returns float64 (patient,).
        """
        return logistic(self.patient_part(facts) + self.tumour_part(facts) + self.necrosis * facts.necrotic)

    def probability_without_image(self, facts: Facts) -> Floats:
        """Give the best answer of somebody who knows the table and has not seen the image.

        Returns float64 (patient,): the mean over what the image might show.
        """
        known = self.patient_part(facts) + self.tumour_part(facts)
        chance = np.where(facts.depth_mm >= NECROTIC_FROM_MM, self.necrotic_share, 0.0)
        return (1 - chance) * logistic(known) + chance * logistic(known + self.necrosis)


LAW = RiskLaw()


def logistic(log_odds: Floats) -> Floats:
    """Turn log odds into probabilities."""
    return 1 / (1 + np.exp(-log_odds))


def draw_facts(rng: np.random.Generator, count: int, law: RiskLaw = LAW) -> Facts:
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
    return Facts(age, male, site, depth, ulcerated, necrotic)


def answers(facts: Facts, law: RiskLaw = LAW) -> dict[str, Floats]:
    """Give the best answers that can be had from parts of what is known, each up to a rising function.

    Returns float (patient,) by what is known: ``all``, ``table`` (all but the image), ``image`` (thickness, ulceration
    and necrosis as the image shows them), ``tumour`` (thickness and ulceration), ``depth``, ``patient``, ``necrosis``.
    """
    tumour = law.tumour_part(facts)
    return {
        "all": law.probability(facts),
        "table": law.probability_without_image(facts),
        "image": tumour + law.necrosis * facts.necrotic,
        "tumour": tumour,
        "depth": facts.depth_mm,
        "patient": law.patient_part(facts),
        "necrosis": facts.necrotic.astype(float),
    }


def area_under_curve(answer: Floats, truth: Truths) -> float | None:
    """Area under the ROC curve: how often one with the event is ranked before one without, ties counting half.

    ``truth``: bool (patient,). Returns ``None`` where all are alike.
    """
    _, which, counts = np.unique(answer, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[which]
    positives = int(truth.sum())
    pairs = positives * (len(truth) - positives)
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def expected_areas(law: RiskLaw = LAW, seed: int = 0) -> dict[str, float | None]:
    """Areas under the curve that the best answers reach in a cohort without end.

    By what is known, as ``answers`` has it.
    """
    rng = np.random.default_rng(seed)
    facts = draw_facts(rng, _SIMULATED, law)
    truth = rng.random(_SIMULATED) < law.probability(facts)
    return {name: area_under_curve(answer, truth) for name, answer in answers(facts, law).items()}
