"""Scores of a slide from its tiles, and lesion area against probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.metrics.statistics import bootstrap_statistic

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.metrics.statistics import Estimate

ROUNDS, TOLERANCE = 1000, 1e-8


class SlideScoreConfig(Config):
    """How the probabilities of tiles become one for the slide."""

    method: Literal["mean", "maximum", "top_k"] = Field(
        "mean", description="P3 names the mean and the maximum; top_k: the mean of the k highest"
    )
    top_k: int = Field(10, ge=1, description="how many tiles count under top_k; all where there are fewer")
    positive: int = Field(-1, description="the class by which tiles are ranked, counted from 0; -1 is the last one")


@dataclass(frozen=True)
class SlideScore:
    """Probabilities of a slide, float64 (class,), and the weight that each tile had in them, float64 (tile,)."""

    probability: NDArray[np.float64]
    weights: NDArray[np.float64]


class Aggregation(Protocol):
    """Whatever makes one answer of many tiles, a network with attention too."""

    def __call__(self, tiles: NDArray[np.floating], shares: NDArray[np.floating]) -> SlideScore:
        """Aggregate the tiles of a slide.

        ``tiles``: float (tile, class) probabilities, or (tile, feature) embeddings where the aggregation learnt from
        these. ``shares``: float (tile,): tissue in each, from 0 to 1.
        """


def score_slide(probability: ArrayLike, config: SlideScoreConfig, shares: ArrayLike | None = None) -> SlideScore:
    """Aggregate the probabilities of a slide's tiles.

    ``probability``: float (tile, class); tiles without a finite answer, such as those that could not be read, do not
    count. ``shares``: float (tile,): tissue in each, by which tiles weigh in a mean; all alike by default. NaN where no
    tile counts, and all weights 0.
    """
    values = np.asarray(probability, np.float64)
    weights = np.ones(len(values)) if shares is None else np.asarray(shares, np.float64).copy()
    known = np.isfinite(values.sum(axis=1))
    weights[~known] = 0
    if not weights.any():
        return SlideScore(np.full(values.shape[1], np.nan), np.zeros(len(values)))
    if config.method != "mean":
        count = 1 if config.method == "maximum" else config.top_k
        ranked = np.where(weights > 0, values[:, config.positive], -np.inf)
        least = np.argsort(-ranked, kind="stable")[count:]
        weights = (weights > 0).astype(np.float64)
        weights[least] = 0
    weights /= weights.sum()
    return SlideScore(weights @ np.where(known[:, None], values, 0), weights)


def correct_prevalence(probability: ArrayLike, trained: ArrayLike, stated: ArrayLike) -> NDArray[np.float64]:
    """Bring probabilities from the class shares of a training to those of where they are used.

    Each class is multiplied by the ratio of its shares, then all are scaled to add up to 1 (Saerens et al. 2002,
    doi:10.1162/089976602753284446, equation 2.4; for two classes Elkan 2001, The foundations of cost-sensitive
    learning, theorem 2). That is exact where calibrated probabilities meet classes that look as they did in training.

    ``trained``: float (class,): shares that the model learnt under; of a training with class weights see
    ``weighted_shares``. ``stated``: float (class,): shares where it is used. Returns float64, same shape.
    """
    values = np.asarray(probability, np.float64)
    before, after = (_normalize_shares(shares, values.shape[-1]) for shares in (trained, stated))
    moved = values * (after / before)
    return moved / moved.sum(axis=-1, keepdims=True)


def estimate_prevalence(probability: ArrayLike, trained: ArrayLike) -> NDArray[np.float64]:
    """Estimate the class shares among cases whose labels are unknown, by the EM algorithm of Saerens et al. 2002.

    ``trained``: float (class,): shares that the model learnt under. Returns float64 (class,), adding up to 1.
    """
    values = np.asarray(probability, np.float64)
    if not len(values):
        raise ValueError("a prevalence is estimated from at least one case; found none.")
    shares = before = _normalize_shares(trained, values.shape[-1])
    for _ in range(ROUNDS):
        moved = values * (shares / before)
        new = (moved / moved.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - shares).max() < TOLERANCE:
            return new
        shares = np.maximum(new, np.finfo(float).tiny)
    return shares


def class_weights(
    counts: ArrayLike, method: Literal["none", "balanced", "root", "effective"] = "balanced"
) -> NDArray[np.float64]:
    """Weights of classes in a loss, so that rare ones count.

    ``counts``: int (class,): cases of each class, at least one each. Returns float64 (class,); the mean weight of a
    case is 1.
    """
    cases = np.asarray(counts, np.float64)
    if not (cases > 0).all():
        raise ValueError(f"a class weight needs at least one case of each class; found {cases.astype(int).tolist()}.")
    raw = {
        "none": np.ones_like(cases),
        "balanced": 1 / cases,
        "root": 1 / np.sqrt(cases),
        "effective": 1 / (1 - 0.999**cases),
    }[method]
    return raw * cases.sum() / (raw * cases).sum()


def effective_shares(counts: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Class shares that a model learnt under whose loss had class weights: what to undo by ``correct_prevalence``.

    ``counts``: int (class,): cases of each class. ``weights``: float (class,): their weights, or by how much more often
    a sampler drew them. Returns float64 (class,), adding up to 1.
    """
    weighted = np.asarray(counts, np.float64) * np.asarray(weights, np.float64)
    return weighted / weighted.sum()


def _normalize_shares(shares: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Check class shares and scale them to add up to 1."""
    found = np.asarray(shares, np.float64)
    if found.shape != (classes,) or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"expected {classes} class shares above 0, found {found.tolist()}. State one for each class.")
    return found / found.sum()


MIN_LESIONS = 3  # lesions; of two the rank correlation is always 1, -1 or none


class LesionLike(Protocol):
    """What is needed of a lesion, measured now or read from a table."""

    @property
    def area_px(self) -> float:
        """In pixels of the finest level."""

    @property
    def area_mm2(self) -> float | None:
        """None where the slide has no scale."""

    @property
    def probability(self) -> float:
        """That it is malignant; not-a-number where the model was not asked."""


AnyLesion = TypeVar("AnyLesion", bound=LesionLike)


def with_area_and_probability(lesions: Sequence[AnyLesion]) -> list[AnyLesion]:
    """Leave out lesions without a probability, such as those drawn where no tile was analyzed.

    Returns the others, in their order.
    """
    return [lesion for lesion in lesions if np.isfinite(lesion.probability)]


def correlate_area_and_probability(
    lesions: Sequence[LesionLike], slides: Sequence[str] | None = None, *, seed: int = 0
) -> Estimate | None:
    """Spearman's correlation of area and probability with a 95 % bootstrap interval.

    ``lesions``: of one slide or of many; those without a probability do not count. In square millimeters where all have
    a scale, else in pixels. None where there are fewer than three lesions; NaN where all areas or all probabilities are
    alike.
    """
    names = [str(number) for number in range(len(lesions))] if slides is None else list(slides)
    known = [place for place, lesion in enumerate(lesions) if np.isfinite(lesion.probability)]
    lesions, names = [lesions[place] for place in known], [names[place] for place in known]
    if len(lesions) < MIN_LESIONS:
        return None
    in_mm2 = all(lesion.area_mm2 is not None for lesion in lesions)
    areas = np.array([lesion.area_mm2 if in_mm2 else lesion.area_px for lesion in lesions], np.float64)
    probabilities = np.array([lesion.probability for lesion in lesions])
    return bootstrap_statistic(
        lambda times: spearman(areas, probabilities, times), names, seed=seed, bounds=(-1.0, 1.0)
    )


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    """Spearman's rank correlation, ties at their mean rank, of values that may count several times.

    From -1 to 1; NaN where either does not vary.
    """
    times = np.ones(len(x)) if weights is None else weights
    ranks = [_mean_ranks(values, times) for values in (x, y)]
    away = [rank - np.average(rank, weights=times) for rank in ranks]
    spread = np.sqrt([(times * one**2).sum() for one in away]).prod()
    return float((times * away[0] * away[1]).sum() / spread) if spread > 0 else float("nan")


def _mean_ranks(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each value where each stands as often as it counts, equal ones at the middle of their ranks."""
    _, index = np.unique(values, return_inverse=True)
    counts = np.bincount(index, weights=times)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]
