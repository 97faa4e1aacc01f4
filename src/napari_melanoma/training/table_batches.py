"""The patient data of a training batch: fields hidden at random, encoded as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.tabular_encoding import TableValues, make_network_inputs
from napari_melanoma.training.random_numbers import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.recipe import ClassPart, TrainRecipe

DROP_SEED = 11  # separates the random numbers of hidden fields from other uses of the seed


class FieldDropout:
    """Hides fields of patient data at random, so that a model learns to predict without them."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        self._field, self._form = recipe.classification.drop_field, recipe.classification.drop_form
        self._seed = recipe.seed

    def read_values(self, part: ClassPart, indices: NDArray[np.int64], keys: NDArray[np.int64]) -> TableValues | None:
        """Return the values of some rows without the hidden fields; None without a table."""
        if part.values is None:
            return None
        values = part.values.select_rows(indices)
        return values.drop_columns(self._draw_mask(keys, values.known.shape[1]))

    def _draw_mask(self, keys: NDArray[np.int64], fields: int) -> NDArray[np.bool_]:
        """Draw which fields are hidden, bool (image, field); depends on seed and keys only."""
        draws = np.stack(
            [np.random.default_rng(derive_seed(self._seed, DROP_SEED, *key)).random(fields + 1) for key in keys]
        )
        return (draws[:, 1:] < self._field) | (draws[:, :1] < self._form)


def table_inputs(values: TableValues | None, encoding: TabularEncoding | None, count: int) -> tuple[Tensor, Tensor]:
    """Return the inputs of ``count`` rows: float32 (row, input) and int64 (row, embedding); empty without a table."""
    import torch

    if values is None or encoding is None:
        return torch.zeros(count, 0), torch.zeros(count, 0, dtype=torch.int64)
    inputs = make_network_inputs(values, encoding)
    return torch.from_numpy(inputs.continuous), torch.from_numpy(inputs.categories)
