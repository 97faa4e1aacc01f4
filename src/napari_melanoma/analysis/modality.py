"""Which kind of photograph a picture looks like: dermoscopic, macroscopic or neither; and what to say if that is odd.

A model answers every picture, also one of a kind that it never saw. The check is a multinomial logistic regression on
``appearance``; its coefficients are in ``modality.json`` beside this module, fitted by ``scripts/fit_modality.py``.
What looks like neither is looked at again without the black around it: few of the photographs that it was fitted to
show a small circle on black, and it took that circle for something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_melanoma.analysis.appearance import appearance, inside_circle
from napari_melanoma.core.parsing import read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["dermoscopic", "macroscopic", "neither"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COEFFICIENTS = Path(__file__).with_name("modality.json")
SURE = 0.9  # from which probability on somebody is bothered with a warning
FARTHEST = 4.0  # standard deviations at which a value is held: beyond them nothing was fitted


@dataclass(frozen=True)
class Recognised:
    """What a picture looks like, and how probable that is among the three kinds."""

    kind: Kind
    probability: float

    @property
    def sure(self) -> bool:
        """Whether it is probable enough to say something about it."""
        return self.probability >= SURE


def recognise(rgb: NDArray[np.uint8]) -> Recognised:
    """Say which kind of photograph a picture looks like.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size.
    """
    whole = _as_it_is(rgb)
    part = inside_circle(rgb) if whole.kind == "neither" else None
    inner = None if part is None else _as_it_is(part)
    return whole if inner is None or inner.kind == "neither" else inner


def certain_kind(looks: Recognised, stated: str | None = None) -> str | None:
    """Give the kind of a photograph where it is certain.

    Returns the stated kind, else the recognized one (``neither`` included); None where the check is not sure.
    """
    return stated or (looks.kind if looks.sure else None)


def warning_for(looks: Recognised, modalities: Sequence[str], stated: str | None = None) -> str:
    """Say in a sentence that a photograph and a model that outlines lesions do not go together.

    Empty where nothing is odd, or where the check is not sure.
    """
    kind = certain_kind(looks, stated)
    if kind == "neither":
        return "This looks like no photograph of a skin lesion, so its mask may mean nothing."
    if kind is None or not modalities or kind in modalities:
        return ""
    seems = "is" if stated else "looks like"
    return (
        f"This {seems} a {kind.replace('_', ' ')} photograph, and the model was trained on {' and '.join(modalities)} "
        "ones alone: check its mask with care, or choose a model for this kind."
    )


def _as_it_is(rgb: NDArray[np.uint8]) -> Recognised:
    """Say which kind a picture looks like, the black around it included."""
    probability = _probabilities(np.array(list(appearance(rgb).values())))
    best = int(probability.argmax())
    return Recognised(KINDS[best], float(probability[best]))


def _probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each kind, from the values of ``appearance`` in their order."""
    mean, deviation, weights, offset = _coefficients()
    scaled = np.clip((values - mean) / deviation, -FARTHEST, FARTHEST)
    scores = np.exp(scaled @ weights + offset - (scaled @ weights + offset).max())
    return scores / scores.sum()


@cache
def _coefficients() -> tuple[NDArray[np.float64], ...]:
    """Mean and deviation of each value, weights (value, kind), and offset of each kind."""
    fitted = read_json(COEFFICIENTS)
    rows = np.array(list(fitted["values"].values()))
    return rows[:, 0], rows[:, 1], rows[:, 2:], np.array(fitted["offset"])
