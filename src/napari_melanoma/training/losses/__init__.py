"""The losses: one file each, found by listing this folder; exports ``SPEC`` and ``loss``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.config import import_submodules

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class LossSpec:
    """What a loss says of itself: its name in recipes, a title, its source, and whether lesion pixels can be weighted.

    A weighted one takes ``lesion_weight`` as its third argument. Those of classification take logits (batch, class)
    and shares of the classes (batch, class); a focused one takes ``gamma`` as its third. One of ``several`` takes
    logits and target of several classes too, each (batch, class, row, column), by a softmax; its weight is then one
    for each class.
    """

    name: str
    title: str
    reference: str
    weighted: bool = False
    task: Literal["segmentation", "classification"] = "segmentation"
    focused: bool = False
    multi_class: bool = False


@dataclass(frozen=True)
class Loss:
    """A loss of this folder: what it says of itself, and its function of logits and target."""

    spec: LossSpec
    function: Callable[..., Tensor]


@cache
def losses() -> dict[str, Loss]:
    """List the losses; torch stays unimported until one is computed.

    By name, in alphabetical order.
    """
    modules = import_submodules(__name__, __path__, "SPEC", "loss")
    found = {module.SPEC.name: Loss(module.SPEC, module.loss) for module in modules}
    return dict(sorted(found.items()))


def make_loss(name: str, lesion_weight: float | Tensor = 1.0) -> LossFunction:
    """Give a loss by its name, with its weight.

    ``lesion_weight``: how many times a pixel of lesion counts in cross-entropy; of several classes float (class,).
    Losses of overlap have no use for it: they weigh a lesion by its share of the image already. Logits and target, both
    float (batch, 1, row, column), the target in [0, 1], to a scalar; those of several classes have as many maps, and
    the target adds up to one over them.
    """
    known = losses()[name]
    return partial(known.function, lesion_weight=lesion_weight) if known.spec.weighted else known.function


def make_class_loss(
    name: str, weights: Tensor | None = None, gamma: float = 2.0, label_smoothing: float = 0.0
) -> LossFunction:
    """Give a loss of classification by its name.

    ``weights``: float (class,): how many times each class counts. Their sum over the lesions learnt from should be the
    number of lesions, so that the loss stays of the size that learning rates are meant for. Logits and shares of the
    classes, both float (batch, class), each row of shares summing to 1, to a scalar.
    """
    known = losses()[name]
    function = partial(known.function, gamma=gamma) if known.spec.focused else known.function

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        smooth = shares * (1 - label_smoothing) + label_smoothing / shares.shape[1]
        return function(logits, smooth if weights is None else smooth * weights.to(smooth))

    return loss
