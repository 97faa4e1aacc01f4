"""The losses of segmentation and classification, each a function with metadata for recipes and docks.

Torch is imported only when a loss is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.plugins import object_family

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]

SMOOTH = 1.0  # pixel; added to overlap and total, which defines the index for images without a lesion
MIN_BASE = 1e-6  # of a power: the slope of a power below 1 is unbounded at 0
# Weights of false negatives and false positives in the Tversky index, as in Abraham and Khan 2019.
MISSED_WEIGHT, EXCESS_WEIGHT = 0.7, 0.3
TVERSKY_POWER = 0.75  # 1 / gamma in Abraham and Khan 2019, with gamma = 4/3


@dataclass(frozen=True)
class LossSpec:
    """Metadata of a loss: its name in recipes, title, source and arguments.

    Losses of segmentation take logits and target, (batch, 1, row, column). ``weighted``: the loss takes
    ``lesion_weight`` as third argument. ``multi_class``: it also supports several classes, (batch, class, row, column),
    with a softmax and one weight per class.

    Losses of classification take logits and class shares, (batch, class). ``focused``: the loss takes ``gamma`` as
    third argument.
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
    """A loss: its metadata and its function."""

    spec: LossSpec
    function: Callable[..., Tensor]

    def __call__(self, *arguments: Any) -> Tensor:  # noqa: ANN401 - those of the function
        return self.function(*arguments)


def list_loss(spec: LossSpec) -> Callable[[Callable[..., Tensor]], Loss]:
    """Make a loss of the decorated function, for recipes and docks."""
    return partial(Loss, spec)


def losses() -> Mapping[str, Loss]:
    """Return the losses by name, in alphabetical order, then those of plug-ins."""
    return LOSSES.members


def make_loss(name: str, lesion_weight: float | Tensor = 1.0) -> LossFunction:
    """Return a loss of segmentation by name, with its weight.

    ``lesion_weight``: weight of lesion pixels in cross-entropy; for several classes float (class,). Overlap losses
    ignore it, as the amount of skin in an image hardly affects them. The loss maps logits and target, both float
    (batch, class, row, column), to a scalar; the target is in [0, 1], and sums to one over several classes.
    """
    loss = losses()[name]
    return partial(loss.function, lesion_weight=lesion_weight) if loss.spec.weighted else loss.function


def make_class_loss(
    name: str, weights: Tensor | None = None, gamma: float = 2.0, label_smoothing: float = 0.0
) -> LossFunction:
    """Return a loss of classification by name.

    ``weights``: float (class,), the class weights. Their sum over the training images should be the number of images,
    which keeps the scale of the loss. The loss maps logits and class shares, both float (batch, class), each row of
    shares summing to 1, to a scalar.
    """
    listed = losses()[name]
    function = partial(listed.function, gamma=gamma) if listed.spec.focused else listed.function

    def weighted_loss(logits: Tensor, shares: Tensor) -> Tensor:
        smooth = shares * (1 - label_smoothing) + label_smoothing / shares.shape[1]
        return function(logits, smooth if weights is None else smooth * weights.to(smooth))

    return weighted_loss


# Cross-entropy of segmentation. ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1],
# summing to one over several classes, or to zero in pixels without a label, which do not count. ``lesion_weight``:
# weight of lesion pixels relative to skin; for several classes float (class,), or 1.


@list_loss(
    LossSpec(
        name="bce",
        title="Binary cross-entropy",
        reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
        weighted=True,
    )
)
def bce(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy of a single probability map, averaged over pixels and images."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    weight = None if lesion_weight == 1 else logits.new_tensor(lesion_weight)
    return binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


@list_loss(
    LossSpec(
        name="ce",
        title="Cross-entropy (CE)",
        reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
        weighted=True,
        multi_class=True,
    )
)
def ce(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Negative log-likelihood of the true class, averaged over the labeled pixels of all images.

    With one map and a sigmoid, as in P4, the probability of lesion is p and that of skin 1 - p: the value equals
    ``bce``. It is listed separately so that a recipe can name the loss of its paper.
    """
    if logits.shape[1] == 1:
        return bce(logits, target, float(lesion_weight))
    weights = logits.new_ones(logits.shape[1]) * lesion_weight
    return -(target * weights[:, None, None] * logits.log_softmax(1)).sum() / target.sum().clamp(min=1)


# Overlap. With one map, the index is computed for each image; with several, for each class over all images of a batch
# (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), as a tile rarely shows every class. Arguments as above.


def dice_index(logits: Tensor, target: Tensor) -> Tensor:
    """Dice index of the probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    Returns (batch,), or (class,) for several classes, in (0, 1].
    """
    common, total = _sums(logits, target)
    return (2 * common + SMOOTH) / (total + SMOOTH)


def jaccard_index(logits: Tensor, target: Tensor) -> Tensor:
    """Jaccard index of the probabilities (Yuan et al. 2017, doi:10.1109/TMI.2017.2695227).

    Returns (batch,), or (class,) for several classes, in (0, 1].
    """
    common, total = _sums(logits, target)
    return (common + SMOOTH) / (total - common + SMOOTH)


def _sums(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the product and the sum of probability and target over each image; for several classes, over each class."""
    multi_class = logits.shape[1] > 1
    # Several classes: the target of a pixel sums to one, or to zero where it has no label.
    probability = logits.softmax(1) * target.sum(1, keepdim=True) if multi_class else logits.sigmoid()
    axes = (0, 2, 3) if multi_class else (1, 2, 3)
    return (probability * target).sum(axes), (probability + target).sum(axes)


@list_loss(
    LossSpec(
        name="soft_dice",
        title="Soft Dice (1 - DI)",
        reference="Milletari et al. 2016, doi:10.1109/3DV.2016.79",
        multi_class=True,
    )
)
def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Dice index of the probabilities, a scalar in [0, 1)."""
    return (1 - dice_index(logits, target)).mean()


@list_loss(
    LossSpec(
        name="soft_jaccard",
        title="Soft Jaccard (1 - JA)",
        reference="Yuan et al. 2017, doi:10.1109/TMI.2017.2695227",
        multi_class=True,
    )
)
def soft_jaccard(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Jaccard index of the probabilities, a scalar in [0, 1)."""
    return (1 - jaccard_index(logits, target)).mean()


@list_loss(
    LossSpec(
        name="focal_tversky",
        title="Focal Tversky",
        reference="Abraham and Khan 2019, doi:10.1109/ISBI.2019.8759329",
    )
)
def focal_tversky(logits: Tensor, target: Tensor) -> Tensor:
    """(1 - Tversky index of the probabilities) ** 3/4, averaged over images: a scalar in (0, 1).

    Missed lesion pixels have more weight than false ones. As the power is below 1, the gradient is larger for images
    that are segmented well already.

    ``logits``, ``target``: float (batch, 1, row, column).
    """
    probability, axes = logits.sigmoid(), (1, 2, 3)
    common = (probability * target).sum(axes)
    missed = ((1 - probability) * target).sum(axes)
    excess = (probability * (1 - target)).sum(axes)
    index = (common + SMOOTH) / (common + MISSED_WEIGHT * missed + EXCESS_WEIGHT * excess + SMOOTH)
    return ((1 - index).clamp(min=MIN_BASE) ** TVERSKY_POWER).mean()


# Cross-entropy and overlap together. The logarithm of an index is steep at small overlap, so that its gradient is
# largest at the start of a training.


@list_loss(
    LossSpec(
        name="bce_dice",
        title="BCE + Dice",
        reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        weighted=True,
    )
)
def bce_dice(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Sum of binary cross-entropy and soft Dice, as in the segmentation of P2; ``logits`` have one class."""
    return bce(logits, target, lesion_weight) + soft_dice(logits, target)


@list_loss(
    LossSpec(
        name="ce_dice",
        title="CE + soft Dice (CE + 1 - DI)",
        reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        weighted=True,
        multi_class=True,
    )
)
def ce_dice(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Sum of cross-entropy and soft Dice, the default for several classes; with one map it equals ``bce_dice``."""
    return ce(logits, target, lesion_weight) + soft_dice(logits, target)


@list_loss(
    LossSpec(
        name="ce_log_dice",
        title="CE - log Dice (CE - log DI)",
        reference="Iglovikov et al. 2017, arXiv:1706.06169",
        weighted=True,
        multi_class=True,
    )
)
def ce_log_dice(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Cross-entropy minus the mean logarithm of the soft Dice index (CE - log DI in P4)."""
    return ce(logits, target, lesion_weight) - dice_index(logits, target).log().mean()


@list_loss(
    LossSpec(
        name="ce_log_jaccard",
        title="CE - log Jaccard (CE - log JA)",
        reference="Iglovikov et al. 2017, arXiv:1706.06169",
        weighted=True,
        multi_class=True,
    )
)
def ce_log_jaccard(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Cross-entropy minus the mean logarithm of the soft Jaccard index (CE - log JA in P4)."""
    return ce(logits, target, lesion_weight) - jaccard_index(logits, target).log().mean()


# Classification. ``logits``, ``shares``: float (batch, class); ``shares``: the share of each class in the label, times
# its weight.


@list_loss(
    LossSpec(
        name="cross_entropy",
        title="Cross-entropy over classes",
        reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
        task="classification",
    )
)
def cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Negative log-likelihood of the true class, averaged over lesions."""
    return -(shares * logits.log_softmax(1)).sum(1).mean()


@list_loss(
    LossSpec(
        name="bce_one",
        title="Binary cross-entropy of one class",
        reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
        task="classification",
    )
)
def bce_one(logits: Tensor, shares: Tensor) -> Tensor:
    """Binary cross-entropy of the sigmoid of the difference of two logits, averaged over lesions.

    The softmax of two logits is the sigmoid of their difference, so that the value equals ``cross_entropy``. In the
    network of P2 the first logit is 0, so that the difference is its single output. The loss is listed separately so
    that a recipe can name the loss of its paper, and it refuses more than two classes.
    """
    from torch.nn.functional import softplus

    if logits.shape[1] != 2:
        raise ConfigError(f"the loss 'bce_one' requires two classes, found {logits.shape[1]}. Use cross_entropy.")
    difference = logits[:, 1] - logits[:, 0]
    return (shares[:, 1] * softplus(-difference) + shares[:, 0] * softplus(difference)).mean()


@list_loss(
    LossSpec(
        name="focal",
        title="Focal",
        reference="Lin et al. 2017, doi:10.1109/ICCV.2017.324",
        task="classification",
        focused=True,
    )
)
def focal(logits: Tensor, shares: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy with a factor ``(1 - probability) ** gamma`` for each class, averaged over lesions.

    Lesions that are classified well already have less weight. A ``gamma`` of 2 is the default of the paper.
    """
    log_probability = logits.log_softmax(1)
    focus = (-log_probability.expm1()).clamp(min=MIN_BASE) ** gamma
    return -(shares * focus * log_probability).sum(1).mean()


LOSSES = object_family("losses", __name__, Loss, "a function with list_loss of napari_melanoma.training.losses")
