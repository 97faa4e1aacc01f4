"""What a classification learns from, as values: its classes with the answers of each part, and a batch of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.tabular import TabularEncoding
    from napari_melanoma.data.features.encoding import TableValues


UNANSWERED = -1  # in the place of a class
ANOTHER, PARTNER = 2**40, 2**41  # added to the key of an image for those that stand behind it


@dataclass(frozen=True, eq=False)
class ClassPart:
    """The answers and rows of one part, in the order of its cache.

    ``labels``: int64 (image,), the place of the class among the names; ``UNANSWERED`` where nobody says. ``values``:
    what the rows say; None where pixels are all there is. ``domains``: int64 (image,), the place of the data set among
    the domains. ``depth_mm``: float64 (image,), NaN where it is not known or not learnt.
    """

    labels: NDArray[np.int64]
    values: TableValues | None
    domains: NDArray[np.int64]
    depth_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassData:
    """What the data of a classification decide.

    ``names``: the classes, in the order of the logits. ``encoding``: how rows of the table become inputs, fitted on
    what is learnt from; None where pixels are all there is.
    """

    names: tuple[str, ...]
    encoding: TabularEncoding | None
    domains: tuple[str, ...]
    learn: ClassPart
    tuning: ClassPart
    unlabelled: ClassPart

    @property
    def counts(self) -> tuple[int, ...]:
        """Images to learn from of each class."""
        return tuple(int((self.learn.labels == place).sum()) for place in range(len(self.names)))


class ClassBatch(NamedTuple):
    """A batch of a classification: images with answers, those without, and partners that some are to be mixed with.

    ``images`` is uint8 (batch, 3, row, column), ``masks`` uint8 (batch, 1, row, column) or without rows where no mask
    is known, ``keys`` int64 (labelled, 2): epoch and key, ``shares`` float32 (labelled, class), each row summing to 1,
    ``continuous`` float32 (seen, input), ``categories`` int64 (seen, embedding) and ``domains`` int64 (seen,) are of
    all but the partners, ``partner_shares`` float32 (partner, class), ``depth_mm`` float32 (labelled,), NaN where it
    is not known.
    """

    images: Tensor
    masks: Tensor
    keys: NDArray[np.int64]
    shares: Tensor
    continuous: Tensor
    categories: Tensor
    domains: Tensor
    partner_shares: Tensor
    depth_mm: Tensor
