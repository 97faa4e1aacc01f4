"""One answer for a slide from those of its tiles (P3: mean or maximum), and probabilities for another prevalence.

How tiles become a slide is one interface, ``Aggregation``: it takes what there is of each tile and gives the slide's
probabilities with the weight that each tile had in them. Mean, maximum and top-k are here; ``inference.bags.BagModel``,
which pools embeddings by attention, has the same shape and shows the same weights as a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ROUNDS, CHANGE = 1000, 1e-8


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


def slide_score(probability: ArrayLike, config: SlideScoreConfig, shares: ArrayLike | None = None) -> SlideScore:
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
    before, after = (_shares(shares, values.shape[-1]) for shares in (trained, stated))
    moved = values * (after / before)
    return moved / moved.sum(axis=-1, keepdims=True)


def estimate_prevalence(probability: ArrayLike, trained: ArrayLike) -> NDArray[np.float64]:
    """Estimate the class shares among cases whose labels are unknown, by the EM algorithm of Saerens et al. 2002.

    ``trained``: float (class,): shares that the model learnt under. Returns float64 (class,), adding up to 1.
    """
    values = np.asarray(probability, np.float64)
    if not len(values):
        raise ValueError("a prevalence is estimated from at least one case; found none.")
    shares = before = _shares(trained, values.shape[-1])
    for _ in range(ROUNDS):
        moved = values * (shares / before)
        new = (moved / moved.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - shares).max() < CHANGE:
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


def weighted_shares(counts: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Class shares that a model learnt under whose loss had class weights: what to undo by ``correct_prevalence``.

    ``counts``: int (class,): cases of each class. ``weights``: float (class,): their weights, or by how much more often
    a sampler drew them. Returns float64 (class,), adding up to 1.
    """
    weighted = np.asarray(counts, np.float64) * np.asarray(weights, np.float64)
    return weighted / weighted.sum()


def _shares(shares: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Check class shares and scale them to add up to 1."""
    found = np.asarray(shares, np.float64)
    if found.shape != (classes,) or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"expected {classes} class shares above 0, found {found.tolist()}. State one for each class.")
    return found / found.sum()
