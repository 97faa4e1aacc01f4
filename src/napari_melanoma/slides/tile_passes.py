"""Forward passes of a tile model: ONNX Runtime on the CPU in float32, or torch on any device and precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import network_threads
from napari_melanoma.metrics.calibration import calibrate_logits
from napari_melanoma.models.inference import InferenceNetwork, normalize_images
from napari_melanoma.models.torch_inference import (
    Precision,
    choose_precision,
    fold_normalization,
    memory_layout,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_melanoma.core.channel_choice import ChannelChoice
    from napari_melanoma.core.prediction_config import ClassifierConfig
    from napari_melanoma.io.slide_store import TileKind

    TileOutputs = dict[str, NDArray[Any] | torch.Tensor]  # name of the array in the store to values (tile, ...)

TILES_PER_THREAD = 4  # of ONNX Runtime; with more, maps of dense models leave the caches: 7 % slower on two threads
PASS_STEP = 16  # with one thread, PyTorch uses other algorithms for smaller passes, which differ in the last bits


@dataclass(frozen=True)
class TileModelInfo:
    """Metadata of a tile model.

    ``kind``: what it predicts. ``side_px``: side of its input. ``mpp``: micrometers per pixel of its training data.
    ``mean``, ``std``: of its normalization, for RGB in [0, 1]. ``fingerprint``: hash of the weights. ``positive``:
    class that lesions are detected with. ``bundle``: path of the bundle; empty for other encoders. ``calibrated``: None
    if it cannot be calibrated. ``terms``: license to show to the user. ``prediction_fingerprint``: hash of what else
    determines the predictions of a bundle. ``margin_px``: border of its input that is context only: the predictions of
    a dense model then cover the rest of a tile, without overlap. ``smoothing``: width of the Gaussian that smooths the
    stitched map of a dense model, in its pixels. ``channels``: those of fluorescence slides that it reads as RGB; None
    for a model of brightfield slides. ``role_names``: the classes as a depth measurement names them.
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
    prediction_fingerprint: str = ""
    margin_px: int = 0
    smoothing: float = 0.0
    channels: ChannelChoice | None = None
    role_names: tuple[str, ...] = ()

    @property
    def is_tissue_classifier(self) -> bool:
        """Whether it was fitted on strokes: only such models have a margin."""
        return self.margin_px > 0


class TilePasses(Protocol):
    """Runs a network on tiles.

    ``backend``: "onnxruntime" or "torch". ``device``: "cpu", "cuda" or "mps".
    """

    backend: str
    device: str
    precision: Precision

    def run(self, tiles: NDArray[np.uint8], batch_size: int) -> TileOutputs:
        """Predict tiles in one forward pass.

        ``tiles``: uint8 (tile, row, column, channel=3), at most ``batch_size``. Returns arrays, or tensors on the
        device, possibly still being computed: see ``TileModel.predict``.
        """

    def concatenate(self, parts: Sequence[TileOutputs]) -> TileOutputs:
        """Concatenate the outputs of several passes."""

    def supports(self, precision: Precision) -> bool:
        """Whether the device computes in a precision."""

    def set_precision(self, precision: Precision) -> None:
        """Compute in a precision from now on."""

    def exact(self) -> TilePasses:
        """Return the same network in float32."""


class TorchPasses:
    """A network that torch runs.

    ``network``: in float32 and evaluation mode; maps normalized images (batch, 3, row, column) to probabilities or
    values (batch, class), embeddings (batch, feature), or probabilities of cells (batch, class, row, column).
    """

    backend = "torch"

    def __init__(
        self, info: TileModelInfo, network: nn.Module, device: str = "cpu", precision: Precision | None = None
    ) -> None:
        import torch

        self.device = device
        self.precision = precision or choose_precision(device)
        self._info = info
        self._network = self._prepare_network(network, self.precision)
        # Needed for comparing predictions, and because each slide may start or resume in either precision.
        self._exact = self._network if self.precision == "fp32" else network
        # For a row of pixels, channels last; whole rows are computed faster than pixels.
        std, mean = torch.tensor(info.std), torch.tensor(info.mean)
        rows = (1 / (255 * std)).repeat(info.side_px), (-mean / std).repeat(info.side_px)
        self._scale, self._shift = rows[0].to(self.device), rows[1].to(self.device)

    def run(self, tiles: NDArray[np.uint8], batch_size: int) -> TileOutputs:
        """Predict tiles, padded to a multiple of ``PASS_STEP`` or to the batch size; see ``TilePasses``."""
        import torch

        count, side = len(tiles), self._info.side_px
        size = min(batch_size, -(-count // PASS_STEP) * PASS_STEP)
        if count < size:
            tiles = np.concatenate([tiles, np.zeros((size - count, *tiles.shape[1:]), np.uint8)])
        with torch.inference_mode():
            rows = torch.from_numpy(tiles).to(self.device, non_blocking=True).view(-1, 3 * side)
            rows = rows.float().mul_(self._scale).add_(self._shift)
            if self.precision == "bf16":
                rows = rows.to(torch.bfloat16)
            images = rows.view(size, side, side, 3).permute(0, 3, 1, 2)  # channels last; a copy only for Apple's GPUs
            images = images.contiguous(memory_format=memory_layout(self.device))
            return self._name_outputs(self._network(images)[:count])

    def concatenate(self, parts: Sequence[TileOutputs]) -> TileOutputs:
        """See ``TilePasses``."""
        import torch

        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}  # type: ignore[misc]

    def supports(self, precision: Precision) -> bool:
        """See ``TilePasses``."""
        return precision == "fp32" or choose_precision(self.device) == "bf16"

    def set_precision(self, precision: Precision) -> None:
        """See ``TilePasses``."""
        if precision != self.precision:
            self.precision, self._network = precision, self._prepare_network(self._exact, precision)

    def exact(self) -> TorchPasses:
        """See ``TilePasses``."""
        return TorchPasses(self._info, self._exact, self.device, "fp32")

    def _prepare_network(self, network: nn.Module, precision: Precision) -> nn.Module:
        """Convert a copy of a network for fast inference."""
        import torch

        folded = fold_normalization(network)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return folded.to(device=self.device, dtype=dtype).to(memory_format=memory_layout(self.device))

    def _name_outputs(self, output: torch.Tensor) -> TileOutputs:
        """Convert the output of the network to named tensors."""
        import torch

        if self._info.kind == "embedding":
            return {"embedding": output.to(torch.float16)}
        if self._info.kind != "dense":
            return {"probability": output.float()}
        cells = output.float()
        return {"probability": cells.mean(dim=(2, 3)), "dense": cells.mul(255).round_().to(torch.uint8)}


class OnnxPasses:
    """A bundle's network that ONNX Runtime runs on the CPU in float32.

    ``network``: with the functions ``encode`` and ``classify`` for classes of tiles, ``cells`` for dense maps, or
    ``embed`` for embeddings. ``classifier``: calibration and flips of a classifier.
    """

    backend, device = "onnxruntime", "cpu"

    def __init__(
        self, info: TileModelInfo, network: InferenceNetwork, classifier: ClassifierConfig | None = None
    ) -> None:
        self.precision: Precision = "fp32"
        self._info = info
        self._network = network
        self._classifier = classifier

    def run(self, tiles: NDArray[np.uint8], batch_size: int) -> TileOutputs:
        """Predict tiles, a few at a time; see ``TilePasses``."""
        size = min(batch_size, TILES_PER_THREAD * network_threads())
        parts = [self._run_part(tiles[first : first + size]) for first in range(0, len(tiles), size)]
        return self.concatenate(parts) if len(parts) > 1 else parts[0]

    def _run_part(self, tiles: NDArray[np.uint8]) -> TileOutputs:
        images = normalize_images(tiles, self._info)
        if self._classifier is not None:
            return {"probability": self._classify(images, self._classifier)}
        if self._info.kind == "embedding":
            return {"embedding": self._network.run("embed", image=images)["embedding"].astype(np.float16)}
        cells = self._network.run("cells", image=images)["cells"]
        probability = cells.mean(axis=(2, 3))
        cells *= 255
        return {"probability": probability, "dense": np.rint(cells, out=cells).astype(np.uint8)}

    def concatenate(self, parts: Sequence[TileOutputs]) -> TileOutputs:
        """See ``TilePasses``."""
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def supports(self, precision: Precision) -> bool:
        """See ``TilePasses``."""
        return precision == "fp32"

    def set_precision(self, precision: Precision) -> None:
        """See ``TilePasses``."""

    def exact(self) -> OnnxPasses:
        """See ``TilePasses``."""
        return self

    def _classify(self, images: NDArray[np.float32], config: ClassifierConfig) -> NDArray[np.float32]:
        """Return calibrated probabilities (tile, class)."""
        deepest = self._network.run("encode", image=images)["deepest"]
        logits = self._network.run("classify", deepest=deepest)["logits"]
        return calibrate_logits(logits, config).astype(np.float32)


def to_array(values: NDArray[Any] | torch.Tensor) -> NDArray[Any]:
    """Return outputs as an array; for a tensor of a GPU, this waits until it is computed."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
