"""The losses: one file each with ``SPEC`` and ``loss``, found by listing this folder."""

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
    """Metadata of a loss: its name in recipes, title, source and arguments.

    A weighted loss takes ``lesion_weight`` as its third argument. Losses of classification take logits (batch, class)
    and shares of the classes (batch, class); a focused one takes ``gamma`` as its third argument. A multi-class loss
    also takes logits and target of several classes, (batch, class, row, column), with a softmax and one weight per
    class.
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
    """A loss of this folder: its metadata, and its function of logits and target."""

    spec: LossSpec
    function: Callable[..., Tensor]


@cache
def losses() -> dict[str, Loss]:
    """Return the losses by name, in alphabetical order; torch is imported only when one is computed."""
    modules = import_submodules(__name__, __path__, "SPEC", "loss")
    found = {module.SPEC.name: Loss(module.SPEC, module.loss) for module in modules}
    return dict(sorted(found.items()))


def make_loss(name: str, lesion_weight: float | Tensor = 1.0) -> LossFunction:
    """Return a loss by name, with its weight.

    ``lesion_weight``: weight of lesion pixels in cross-entropy; for several classes float (class,). Overlap losses
    ignore it, as they already weight a lesion by its share of the image. The loss maps logits and target, both float
    (batch, class, row, column), to a scalar; the target is in [0, 1], and sums to one over several classes.
    """
    known = losses()[name]
    return partial(known.function, lesion_weight=lesion_weight) if known.spec.weighted else known.function


def make_class_loss(
    name: str, weights: Tensor | None = None, gamma: float = 2.0, label_smoothing: float = 0.0
) -> LossFunction:
    """Return a loss of classification by name.

    ``weights``: float (class,), the class weights. Their sum over the training images should be the number of images,
    which keeps the scale of the loss. The loss maps logits and class shares, both float (batch, class), each row of
    shares summing to 1, to a scalar.
    """
    known = losses()[name]
    function = partial(known.function, gamma=gamma) if known.spec.focused else known.function

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        smooth = shares * (1 - label_smoothing) + label_smoothing / shares.shape[1]
        return function(logits, smooth if weights is None else smooth * weights.to(smooth))

    return loss
