"""Binary cross-entropy of two classes, as in the classifier of P2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.losses import LossSpec

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="bce_one",
    title="Binary cross-entropy of one class",
    reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
    task="classification",
)


def loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Binary cross-entropy of the sigmoid of the difference of two logits, averaged over lesions.

    With the head of P2, whose first logit is 0, this is the sigmoid of its single output. Softmax of two logits is the
    sigmoid of their difference, so that the value equals ``cross_entropy``; it is listed separately so that a recipe
    can name the loss of its paper, and it refuses more than two classes, which P2's network does not have.

    ``logits``, ``shares``: float (batch, 2); ``shares``: the share of each class in the label, times its weight.
    """
    from torch.nn.functional import softplus

    if logits.shape[1] != 2:
        raise ConfigError(f"the loss 'bce_one' requires two classes, found {logits.shape[1]}. Use cross_entropy.")
    one = logits[:, 1] - logits[:, 0]
    return (shares[:, 1] * softplus(-one) + shares[:, 0] * softplus(one)).mean()
