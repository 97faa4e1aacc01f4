"""One network over batches of tiles, whatever it tells of them: classes, a value, an embedding, or dense maps.

Every pass has the same shape, the last one filled up: a tile's answer does not depend on who shares its batch.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.memory import is_out_of_memory
from napari_melanoma.models.precision import Precision, best_precision, folded

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.inference.bags import BagModel
    from napari_melanoma.io.slide_results import TileKind

MOST_AWAY = 0.01  # of a probability from what float32 gives
MIXED = f"answers may differ by {MOST_AWAY}."
DENSE_STEP = 4  # pixels of a tile along a cell of its dense map
log = logging.getLogger(__name__)


class MemoryFull(MelanomaError):  # noqa: N818 - reads as what it is at the place it is raised
    """Not even one tile fits into memory."""


def memory_full(model: str, device: str) -> MemoryFull:
    """Say that not even one tile fits into memory, and what to do."""
    where = "computer" if device == "cpu" else "GPU"
    return MemoryFull(
        f"the memory of this {where} is too small for one tile of '{model}'. Close what else uses it, or choose a "
        "smaller model."
    )


@dataclass(frozen=True)
class TileModelInfo:
    """What a model of tiles says of itself.

    ``mpp``: micrometres per pixel that it was made for. ``mean``, ``std``: of its normalisation, for RGB in [0, 1].
    """

    name: str
    kind: TileKind
    classes: tuple[str, ...]
    side_px: int
    mpp: float
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    licence: str = "unknown"
    fingerprint: str = ""
    positive: str = ""
    threshold: float = 0.5
    bundle: str = ""
    demonstration: bool = False
    synthetic_share: float = 0.0
    calibrated: bool | None = None
    terms: str = ""
    answers: str = ""


class TileModel:
    """A network ready for tiles.

    ``network``: float32 and in evaluation mode: normalised (batch, 3, row, column) to probabilities or values (batch,
    class), to embeddings (batch, feature), or to maps of probability (batch, class, row, column).
    """

    def __init__(
        self,
        info: TileModelInfo,
        network: nn.Module,
        device: str = "cpu",
        batch_size: int = 32,
        precision: Precision | None = None,
    ) -> None:
        self.info = info
        self.device = device
        self.batch_size = batch_size
        self.bags: BagModel | None = None  # what makes one answer of all embeddings
        self.precision = precision or best_precision(device)
        self._tell: Callable[[str], None] = log.info
        self._wanted, self._asked = self.precision, precision
        self._network = self._made(network, self.precision)
        # Kept as long as the model is: each slide is compared with it, and may begin or go on in either precision.
        self._exact = self._network if self.precision == "fp32" else network
        self._scale, self._shift = self._normalisation()

    def hear(self, tell: Callable[[str], None]) -> None:
        """Say who is told what a person should know: a licence, what was changed on the way."""
        self._tell = tell
        if self.info.terms:
            tell(f"'{self.info.name}' comes under its own licence: {self.info.terms}")

    def answer(self, tiles: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """Ask the network, in as many passes as its batch size needs.

        ``tiles``: uint8 (tile, row, column, channel=3), of side ``info.side_px``. On the network's device, perhaps not
        computed yet there: ``probability`` (tile, class), ``embedding`` (tile, feature), ``dense`` (tile, class, row,
        column), as the kind has it.
        """
        import torch

        while True:
            try:
                size = self.batch_size
                parts = [self._pass(tiles[first : first + size]) for first in range(0, len(tiles), size)]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise memory_full(self.info.name, self.device) from error
            else:
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            self._halve()

    def settle_precision(self, tiles: NDArray[np.uint8]) -> float:
        """Compare a few tiles with float32, and stay with that where half precision moves an answer too far.

        ``tiles``: uint8 (tile, row, column, channel=3): one batch at most. How far the answers lay apart: the greatest
        difference of a probability, or for embeddings and values relative to their spread; 0 where float32 is used
        anyway.
        """
        if self.precision == "fp32" or not len(tiles):
            return 0.0
        away = _away(self, tiles, self._exact)
        if away > MOST_AWAY:
            self._compute_in("fp32")
            self._tell(f"half precision moved an answer by {away:.3f}: computed in float32, which takes longer.")
        return away

    def begin_again(self, batch_size: int) -> None:
        """Forget what a slide before made of precision and size of the passes."""
        self.batch_size = batch_size
        self._compute_in(self._wanted)

    def continue_with(self, precision: Precision, batch_size: int) -> None:
        """Compute as an analysis did that is to go on, so that its answers and these are one."""
        self.batch_size = batch_size
        if precision == self.precision:
            return
        if precision == "bf16" and best_precision(self.device) != "bf16":
            self._tell(f"begun in bf16, which this {self.device} lacks, goes on in fp32: {MIXED}")
            return
        self._compute_in(precision)
        if self._asked is not None:
            self._tell(f"begun in {precision}, goes on so: a result has one precision. --force begins again.")

    def sizes(self) -> dict[str, int]:
        """Find out how much a tile has, by asking for one.

        Returns ``features`` of an embedding and ``dense_px``, the side of a dense map; 0 where it has none.
        """
        if self.info.kind not in ("embedding", "dense"):
            return {"features": 0, "dense_px": 0}
        side = self.info.side_px
        found = self.answer(np.full((1, side, side, 3), 255, np.uint8))
        features = found["embedding"].shape[1] if "embedding" in found else 0
        return {"features": features, "dense_px": found["dense"].shape[2] if "dense" in found else 0}

    def _compute_in(self, precision: Precision) -> None:
        """Compute in this precision from now on."""
        if precision != self.precision:
            self.precision, self._network = precision, self._made(self._exact, precision)

    def _made(self, network: nn.Module, precision: Precision) -> nn.Module:
        """Bring a copy of a network into the shape in which it runs fastest."""
        import torch

        ready = folded(network)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        return ready.to(device=self.device, dtype=kind).to(memory_format=torch.channels_last)

    def _normalisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Factor and summand for a row of pixels, channels last: whole rows are computed much faster than pixels."""
        import torch

        std, mean = torch.tensor(self.info.std), torch.tensor(self.info.mean)
        rows = (1 / (255 * std)).repeat(self.info.side_px), (-mean / std).repeat(self.info.side_px)
        return rows[0].to(self.device), rows[1].to(self.device)

    def _pass(self, tiles: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """One pass of the network, filled up to its usual shape."""
        import torch

        count, side = len(tiles), self.info.side_px
        if count < self.batch_size:
            tiles = np.concatenate([tiles, np.zeros((self.batch_size - count, *tiles.shape[1:]), np.uint8)])
        with torch.inference_mode():
            rows = torch.from_numpy(tiles).to(self.device, non_blocking=True).view(-1, 3 * side)
            rows = rows.float().mul_(self._scale).add_(self._shift)
            if self.precision == "bf16":
                rows = rows.to(torch.bfloat16)
            images = rows.view(self.batch_size, side, side, 3).permute(0, 3, 1, 2)  # channels_last as it lies
            return _named(self.info.kind, self._network(images)[:count])

    def _halve(self) -> None:
        """Take smaller passes from now on."""
        import torch

        gc.collect()  # the error's frames held the tensors of the pass
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = max(1, self.batch_size // 2)
        self._tell(f"memory was full: {self.batch_size} tiles a pass from now on.")


def _named(kind: TileKind, found: torch.Tensor) -> dict[str, torch.Tensor]:
    """Say what an answer is; of dense maps, also what each tile has of a class on average."""
    import torch

    if kind == "embedding":
        return {"embedding": found.to(torch.float16)}
    if kind != "dense":
        return {"probability": found.float()}
    cells = torch.nn.functional.avg_pool2d(found.float(), DENSE_STEP)
    return {"probability": cells.mean(dim=(2, 3)), "dense": cells.mul(255).round_().to(torch.uint8)}


def _away(model: TileModel, tiles: NDArray[np.uint8], exact: nn.Module) -> float:
    """How far a model's answers lie from those of a network in float32."""
    import torch

    reference = TileModel(model.info, exact, model.device, model.batch_size, "fp32")
    away = 0.0
    with torch.inference_mode():
        near, far = model.answer(tiles), reference.answer(tiles)
        for name, values in far.items():
            scale = 255.0 if name == "dense" else 1.0
            if model.info.kind in ("embedding", "regression"):
                scale = max(float(values.float().std()), 1e-6) if values.numel() > 1 else 1.0
            away = max(away, float((near[name].float() - values.float()).abs().max()) / scale)
    return away
