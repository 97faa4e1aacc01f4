"""Binary cross-entropy of one class against the other, as P2 trains its classifier."""

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
    """Binary cross-entropy of the sigmoid of one logit less the other, averaged over lesions.

    With the head of P2, whose first logit is 0, that is the sigmoid of its one output. Softmax of two logits is the
    sigmoid of their difference, so that this is the same number as ``cross_entropy``; it is listed apart so that a
    recipe can name a loss as its paper does, and refuses more classes, of which P2's network has no use.

    ``logits``, ``shares``: float (batch, 2); the shares say how much of the answer each class is, weights of classes
    among them.
    """
    from torch.nn.functional import softplus

    if logits.shape[1] != 2:
        raise ConfigError(f"the loss 'bce_one' tells two classes apart, found {logits.shape[1]}. Use cross_entropy.")
    one = logits[:, 1] - logits[:, 0]
    return (shares[:, 1] * softplus(-one) + shares[:, 0] * softplus(one)).mean()
