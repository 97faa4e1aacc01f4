"""Tile models: predictions of tiles in batches, with less memory or precision if needed."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.torch_inference import Precision, is_out_of_memory
from napari_melanoma.slides.tile_passes import to_array

if TYPE_CHECKING:
    from napari_melanoma.slides.bag_models import BagModel
    from napari_melanoma.slides.tile_passes import TileModelInfo, TileOutputs, TilePasses

MAX_DIFFERENCE = 0.01  # greatest accepted difference of a probability from float32
MIXED_PRECISION_NOTE = f"predictions may differ by {MAX_DIFFERENCE}."
log = logging.getLogger(__name__)


class OutOfMemory(MelanomaError):  # noqa: N818 - describes the state
    """A single tile does not fit into memory."""


def out_of_memory_error(model: str, device: str) -> OutOfMemory:
    """Create the error for a tile that does not fit into memory."""
    where = "computer" if device == "cpu" else "GPU"
    return OutOfMemory(
        f"the memory of this {where} is too small for one tile of '{model}'. Close other programs, or choose a "
        "smaller model."
    )


class TileModel:
    """A network for predicting tiles; ``passes`` runs it.

    ``precision``: if the user chose one.
    """

    def __init__(
        self, info: TileModelInfo, passes: TilePasses, batch_size: int = 32, precision: Precision | None = None
    ) -> None:
        self.info = info
        self.batch_size = batch_size
        self.bags: BagModel | None = None  # predicts the slide from embeddings, in a whole-slide model
        # Share of the cells of tiles that are out of distribution, in a tissue classifier; None if unknown
        self.novelty: Callable[[NDArray[np.uint8]], float | None] | None = None
        self._passes = passes
        self._notice_callback: Callable[[str], None] = log.info
        self._initial_precision, self._requested_precision = passes.precision, precision

    @property
    def backend(self) -> str:
        """What runs the network: "onnxruntime" or "torch"."""
        return self._passes.backend

    @property
    def device(self) -> str:
        """The device of the network: "cpu", "cuda" or "mps"."""
        return self._passes.device

    @property
    def precision(self) -> Precision:
        """The precision of the network."""
        return self._passes.precision

    def set_notice_callback(self, callback: Callable[[str], None]) -> None:
        """Set the function that receives messages for the user, such as a license."""
        self._notice_callback = callback
        if self.info.terms:
            callback(f"'{self.info.name}' has its own license: {self.info.terms}")

    def predict(self, tiles: NDArray[np.uint8]) -> TileOutputs:
        """Predict tiles, in as many forward passes as the batch size requires.

        If memory runs out, the batch size is halved. ``tiles``: uint8 (tile, row, column, channel=3), of side
        ``info.side_px``. Returns ``probability`` (tile, class), ``embedding`` (tile, feature) or ``dense`` (tile,
        class, row, column), depending on the kind of model: arrays, or tensors on the device, possibly still being
        computed, see ``to_array``.
        """
        while True:
            try:
                size = self.batch_size
                parts = [self._passes.run(tiles[first : first + size], size) for first in range(0, len(tiles), size)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise out_of_memory_error(self.info.name, self.device) from error
            else:
                return self._passes.concatenate(parts) if len(parts) > 1 else parts[0]
            self._halve_batch_size()

    def choose_precision(self, tiles: NDArray[np.uint8]) -> float:
        """Compare a few tiles with float32, and switch to it if half precision changes predictions too much.

        ``tiles``: uint8 (tile, row, column, channel=3), at most one batch. Returns the greatest difference of a
        probability, or of an embedding or value relative to the standard deviation; 0 in float32.
        """
        if self.precision == "fp32" or not len(tiles):
            return 0.0
        difference = self._max_difference(tiles)
        if difference > MAX_DIFFERENCE:
            self._passes.set_precision("fp32")
            self._notice_callback(
                f"half precision changed a prediction by {difference:.3f}: computing in float32, which is slower."
            )
        return difference

    def reset(self, batch_size: int) -> None:
        """Reset precision and batch size, which a previous slide may have changed."""
        self.batch_size = batch_size
        self._passes.set_precision(self._initial_precision)

    def resume_with(self, precision: Precision, batch_size: int) -> None:
        """Use the precision and batch size of an analysis that is resumed, for consistent predictions."""
        self.batch_size = batch_size
        if precision == self.precision:
            return
        if not self._passes.supports(precision):
            where = f"this {self.device}" if self.backend == "torch" else "ONNX Runtime"
            self._notice_callback(
                f"started in {precision}, which {where} does not support; resuming in fp32: {MIXED_PRECISION_NOTE}"
            )
            return
        self._passes.set_precision(precision)
        if self._requested_precision is not None:
            self._notice_callback(
                f"started in {precision}; resuming in the same precision. Analyze the slide again from the start "
                "(Python: force=True, command line: --force) to change it."
            )

    def output_sizes(self) -> dict[str, int]:
        """Determine the sizes of outputs by predicting one tile.

        Returns ``features``, the length of an embedding, and ``dense_px``, the side of a dense map; 0 for other models.
        """
        if self.info.kind not in ("embedding", "dense"):
            return {"features": 0, "dense_px": 0}
        side = self.info.side_px
        outputs = self.predict(np.full((1, side, side, 3), 255, np.uint8))
        features = outputs["embedding"].shape[1] if "embedding" in outputs else 0
        return {"features": features, "dense_px": outputs["dense"].shape[2] if "dense" in outputs else 0}

    def _halve_batch_size(self) -> None:
        gc.collect()  # the frames of the error referenced the tensors of the pass
        if self.device == "cuda":
            import torch

            torch.cuda.empty_cache()
        self.batch_size = max(1, self.batch_size // 2)
        self._notice_callback(f"out of memory: continuing with {self.batch_size} tiles per pass.")

    def _max_difference(self, tiles: NDArray[np.uint8]) -> float:
        reference = TileModel(self.info, self._passes.exact(), self.batch_size)
        outputs, exact_outputs, difference = self.predict(tiles), reference.predict(tiles), 0.0
        for name, tensor in exact_outputs.items():
            values = to_array(tensor).astype(np.float32)
            scale = 255.0 if name == "dense" else 1.0
            if self.info.kind in ("embedding", "regression"):
                scale = max(float(values.std(ddof=1)), 1e-6) if values.size > 1 else 1.0
            difference = max(difference, float(np.abs(to_array(outputs[name]) - values).max()) / scale)
        return difference
