"""The losses: one file each, found by listing this folder; exports ``SPEC`` and ``loss``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.listing import listed

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Spec:
    """What a loss says of itself: its name in recipes, a title, its source, and whether lesion pixels can be weighted.

    A weighted one takes ``lesion_weight`` as its third argument. Those of classification take logits (batch, class)
    and shares of the classes (batch, class).
    """

    name: str
    title: str
    reference: str
    weighted: bool = False
    task: Literal["segmentation", "classification"] = "segmentation"


@dataclass(frozen=True)
class Loss:
    """A loss of this folder: what it says of itself, and its function of logits and target."""

    spec: Spec
    function: Callable[..., Tensor]


@cache
def losses() -> dict[str, Loss]:
    """List the losses; torch stays unimported until one is computed.

    Returns
    -------
    dict of str to Loss
        By name, in alphabetical order.
    """
    modules = listed(__name__, __path__, "SPEC", "loss")
    found = {module.SPEC.name: Loss(module.SPEC, module.loss) for module in modules}
    return dict(sorted(found.items()))


def make_loss(name: str, lesion_weight: float = 1.0) -> LossFunction:
    """Give a loss by its name, with its weight.

    Parameters
    ----------
    name : str
        A key of ``losses()``.
    lesion_weight : float
        How many times a pixel of lesion counts in cross-entropy. Losses of overlap have no use for it: they weigh a
        lesion by its share of the image already.

    Returns
    -------
    callable
        Logits and target, both float (batch, 1, row, column), the target in [0, 1], to a scalar.
    """
    known = losses()[name]
    return partial(known.function, lesion_weight=lesion_weight) if known.spec.weighted else known.function
