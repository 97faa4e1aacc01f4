"""One answer for every choice of what is known: image, depth and patient, each there or taken away.

What is taken away of the picture is replaced by what the network saw in training cases, one after the other, and the
answers are averaged; columns of the table are left empty, as the network has learnt to do without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.risk_shares import Known, coalitions, shares
from napari_melanoma.core.depth import DEPTH
from napari_melanoma.workflows.risk_answer import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.inference.classification import Classifier, Looked

Row = Mapping[str, object]


@dataclass(frozen=True)
class Parted:
    """What each part moves a probability by, and the probability where nothing is known."""

    shares: dict[str, float]
    without: float


def parted(model: Classifier, looked: Sequence[Looked], row: Row, most: int) -> list[Parted] | None:
    """Say for each of several patches of one patient what image, depth and patient move its answer by.

    Exact Shapley values over the three parts; None where the bundle remembers no training cases.
    """
    others = _others(model, most)
    if others is None:
        return None
    found = []
    for one in looked:
        answers = {known: _answer(model, one, row, known, others) for known in coalitions(PARTS)}
        found.append(Parted(shares(answers, PARTS), answers[frozenset()]))
    return found


def log_odds(model: Classifier, looked: Sequence[Looked]) -> NDArray[np.float64]:
    """Give the network's log odds of the positive class from the image alone, before calibration.

    Returns float64 (patch,).
    """
    logits = model.decide(looked, [{}] * len(looked)).astype(np.float64)
    rest = np.delete(logits, model.judge.positive, axis=1)
    return logits[:, model.judge.positive] - np.logaddexp.reduce(rest, axis=1)


def _others(model: Classifier, most: int) -> NDArray[np.float32] | None:
    """Features of training cases, float32 (case, feature), spread evenly over those that are remembered."""
    reference = model.judge.reference
    if reference is None or not len(reference.embeddings):
        return None
    count = len(reference.embeddings)
    places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    return reference.embeddings[places].astype(np.float32)


def _answer(model: Classifier, looked: Looked, row: Row, known: Known, others: NDArray[np.float32]) -> float:
    """Probability of the positive class where only some parts are known."""
    cells = _cells(row, known)
    if {"image", "depth"} <= known:
        logits = model.decide([looked], [cells])
    else:
        logits = model.decide(_mixed(model, looked, known, others), [cells] * len(others))
    return float(model.judge.probabilities(logits)[:, model.judge.positive].mean())


def _cells(row: Row, known: Known) -> dict[str, object]:
    """The columns of a row that are known."""
    return {name: cell for name, cell in row.items() if ("depth" if name == DEPTH else "patient") in known}


def _mixed(model: Classifier, looked: Looked, known: Known, others: NDArray[np.float32]) -> list[Looked]:
    """The case's features where they are known, those of training cases where not; each a map of one place."""
    from napari_melanoma.inference.classification import Looked as Seen

    own, mixed = looked.deepest.mean(axis=(0, 2, 3)), others.copy()
    at = getattr(model.network, "image_features", len(own))  # behind them stands what the network tells of the depth
    for part, where in (("image", np.s_[:at]), ("depth", np.s_[at:])):
        if part in known:
            mixed[:, where] = own[where]
    return [Seen(one[None, :, None, None], one) for one in mixed]
