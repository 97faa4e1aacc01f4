"""Intervals around a measured thickness: how far measurements were off on slides whose truth is known (conformal).

The law of a model lies in ``intervals.json`` beside this module, by the hash of its weights, for anybody may give a
model any name: without one there is no interval, for nothing is known of its errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources

import numpy as np

from napari_melanoma.core.parsing import parse_json

FEWEST = 40  # slides of known truth that a law may rest on
LAWS = "intervals.json"
LEAST_SCALE_MM = 0.005


@dataclass(frozen=True)
class DepthFeatures:
    """What says how hard a measurement was: thickness, and that of the nearly certain and of all possible tumour."""

    mm: float
    low_mm: float
    high_mm: float

    @property
    def spread_mm(self) -> float:
        """How far apart the certain and the possible are."""
        return max(self.high_mm - self.low_mm, 0.0)


@dataclass(frozen=True)
class IntervalLaw:
    """How wide an interval is: ``scale`` (constant in mm, share of the thickness, share of the spread) times limits.

    ``less`` and ``more`` are how many scales the truth may lie below and above; ``cases`` says on how many slides of
    ``made_of`` they were found.
    """

    coverage: float
    scale: tuple[float, float, float]
    less: float
    more: float
    cases: int
    made_of: str

    def interval(self, features: DepthFeatures) -> tuple[float, float]:
        """Give the interval of a measurement.

        Least and greatest thickness in mm, 0 at the least.
        """
        scale = _scale(features, self.scale)
        return max(features.mm - self.less * scale, 0.0), features.mm + self.more * scale


def calibrate(
    truth_mm: Sequence[float], features: Sequence[DepthFeatures], coverage: float = 0.9, made_of: str = ""
) -> IntervalLaw:
    """Make a law from slides whose thickness is known (split conformal prediction, normalised; arXiv:2107.07511).

    Covers at least so much of further slides on average, where these are drawn alike.
    """
    if len(truth_mm) != len(features) or len(features) < FEWEST:
        raise ValueError(f"needs {FEWEST} slides with truth and measurement, got {len(truth_mm)}, {len(features)}")
    errors = np.asarray(truth_mm, np.float64) - [one.mm for one in features]
    scale = _fit_scale(np.abs(errors), features)
    scores = errors / [_scale(one, scale) for one in features]
    tail = (1 - coverage) / 2
    less, more = _limit(-scores, tail), _limit(scores, tail)
    return IntervalLaw(coverage, scale, max(less, 0.0), max(more, 0.0), len(errors), made_of)


def to_json(laws: dict[str, IntervalLaw]) -> str:
    """Write laws as ``intervals.json`` has them."""
    return json.dumps({weights: asdict(law) for weights, law in laws.items()}, indent=2) + "\n"


@cache
def known_laws() -> dict[str, IntervalLaw]:
    """Give the laws that come with the program.

    SHA-256 of a model's weights file, as ``BundleInfo.fingerprint`` gives it, to its law.
    """
    text = resources.files(__package__).joinpath(LAWS).read_text(encoding="utf-8")
    laws = parse_json(text, LAWS)
    return {weights: IntervalLaw(**{**law, "scale": tuple(law["scale"])}) for weights, law in laws.items()}


def _scale(features: DepthFeatures, scale: tuple[float, float, float]) -> float:
    """How far a measurement may be off, as a multiple of nothing in particular."""
    return max(scale[0] + scale[1] * features.mm + scale[2] * features.spread_mm, LEAST_SCALE_MM)


def _fit_scale(errors: np.ndarray, features: Sequence[DepthFeatures]) -> tuple[float, float, float]:
    """Least squares of the size of errors without negative parts; a few large errors have less say by the root."""
    from scipy.optimize import nnls

    columns = np.array([(1.0, one.mm, one.spread_mm) for one in features])
    likely = np.minimum(errors, np.quantile(errors, 0.95))
    found = nnls(columns, likely)[0].tolist()
    return found[0], found[1], found[2]


def _limit(scores: np.ndarray, tail: float) -> float:
    """Quantile of the scores that leaves a tail, by the rule of split conformal prediction."""
    rank = math.ceil((len(scores) + 1) * (1 - tail))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])
