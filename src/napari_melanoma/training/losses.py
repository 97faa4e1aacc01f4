"""The losses, each a function listed with its metadata; torch is imported only when one is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]
Function = TypeVar("Function", bound=Callable[..., "Tensor"])

SMOOTH = 1.0  # pixel; defines index and gradient for images without a lesion
LEAST = 1e-6  # the slope of a power below 1 is unbounded at 0
MISSED, TOO_MUCH = 0.7, 0.3  # weights of false negatives and false positives in the Tversky index; the paper's choice
TVERSKY_POWER = 0.75  # 1 / gamma of the paper, with gamma = 4/3


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
    """A loss: its metadata, and its function of logits and target."""

    spec: LossSpec
    function: Callable[..., Tensor]


_LISTED: dict[str, Loss] = {}


def list_loss(spec: LossSpec) -> Callable[[Function], Function]:
    """Make the decorated function available in recipes and docks by the name of its metadata."""

    def add(function: Function) -> Function:
        if spec.name in _LISTED:
            raise ValueError(f"a loss named '{spec.name}' already exists: choose another name.")
        _LISTED[spec.name] = Loss(spec, function)
        return function

    return add


def losses() -> dict[str, Loss]:
    """Return the losses by name, in alphabetical order."""
    return dict(sorted(_LISTED.items()))


def make_loss(name: str, lesion_weight: float | Tensor = 1.0) -> LossFunction:
    """Return a loss by name, with its weight.

    ``lesion_weight``: weight of lesion pixels in cross-entropy; for several classes float (class,). Overlap losses
    ignore it, as they already weight a lesion by its share of the image. The loss maps logits and target, both float
    (batch, class, row, column), to a scalar; the target is in [0, 1], and sums to one over several classes.
    """
    known = _LISTED[name]
    return partial(known.function, lesion_weight=lesion_weight) if known.spec.weighted else known.function


def make_class_loss(
    name: str, weights: Tensor | None = None, gamma: float = 2.0, label_smoothing: float = 0.0
) -> LossFunction:
    """Return a loss of classification by name.

    ``weights``: float (class,), the class weights. Their sum over the training images should be the number of images,
    which keeps the scale of the loss. The loss maps logits and class shares, both float (batch, class), each row of
    shares summing to 1, to a scalar.
    """
    known = _LISTED[name]
    function = partial(known.function, gamma=gamma) if known.spec.focused else known.function

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        smooth = shares * (1 - label_smoothing) + label_smoothing / shares.shape[1]
        return function(logits, smooth if weights is None else smooth * weights.to(smooth))

    return loss


# Cross-entropy of segmentation. ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1],
# summing to one over several classes. ``lesion_weight``: weight of lesion pixels relative to skin; for several classes
# float (class,), or 1.


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
    """Negative log-likelihood of the true class, averaged over pixels and images.

    With one map and a sigmoid, as in P4, the probability of lesion is p and that of skin 1 - p: the value equals
    ``bce``. It is listed separately so that a recipe can name the loss of its paper.
    """
    if logits.shape[1] == 1:
        return bce(logits, target, float(lesion_weight))
    weights = logits.new_ones(logits.shape[1]) * lesion_weight
    return -(target * weights[:, None, None] * logits.log_softmax(1)).sum(1).mean()


# Overlap. One map has an index per image, several maps one per class over all images of the batch (as in Isensee et al.
# 2021, doi:10.1038/s41592-020-01008-z), as a tile rarely shows every class. ``logits`` and ``target`` as above.


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
    """Sum of the product, and sum of both, per image, or per class if there are several."""
    several = logits.shape[1] > 1
    probability = logits.softmax(1) if several else logits.sigmoid()
    axes = (0, 2, 3) if several else (1, 2, 3)
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

    Missed lesion has more weight than false lesion, and difficult images have more weight than easy ones.
    ``logits``, ``target``: float (batch, 1, row, column).
    """
    probability, axes = logits.sigmoid(), (1, 2, 3)
    common = (probability * target).sum(axes)
    missed = ((1 - probability) * target).sum(axes)
    too_much = (probability * (1 - target)).sum(axes)
    index = (common + SMOOTH) / (common + MISSED * missed + TOO_MUCH * too_much + SMOOTH)
    return ((1 - index).clamp(min=LEAST) ** TVERSKY_POWER).mean()


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

    With the head of P2, whose first logit is 0, this is the sigmoid of its single output. Softmax of two logits is the
    sigmoid of their difference, so that the value equals ``cross_entropy``; it is listed separately so that a recipe
    can name the loss of its paper, and it refuses more than two classes, which P2's network does not have.
    """
    from torch.nn.functional import softplus

    if logits.shape[1] != 2:
        raise ConfigError(f"the loss 'bce_one' requires two classes, found {logits.shape[1]}. Use cross_entropy.")
    one = logits[:, 1] - logits[:, 0]
    return (shares[:, 1] * softplus(-one) + shares[:, 0] * softplus(one)).mean()


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

    Lesions that are classified well already have less weight. A ``gamma`` of 2 is the paper's choice.
    """
    log_probability = logits.log_softmax(1)
    focus = (-log_probability.expm1()).clamp(min=LEAST) ** gamma
    return -(shares * focus * log_probability).sum(1).mean()
