"""Models of tiles: forward passes with ONNX Runtime or torch, precision, and tiles that are out of distribution."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import network_threads
from napari_melanoma.core.errors import BundleError, MelanomaError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.metrics.calibration import calibrate_logits
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.models.bundle import BundleInfo, read_reference
from napari_melanoma.models.inference import InferenceNetwork, load_inference, normalize_images
from napari_melanoma.models.torch_inference import (
    Precision,
    choose_precision,
    fold_normalization,
    is_out_of_memory,
    memory_layout,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_melanoma.core.channel_choice import ChannelChoice
    from napari_melanoma.core.prediction_config import ClassifierConfig
    from napari_melanoma.io.slide_store import TileKind

    TileOutputs = dict[str, NDArray[Any] | torch.Tensor]  # name of the array in the store to values (tile, ...)
    from napari_melanoma.slides.bag_models import BagModel


TILES_PER_THREAD = 4  # of ONNX Runtime; with more, maps of dense models leave the caches: 7 % slower on two threads
PASS_STEP = 16  # with one thread, PyTorch uses other algorithms for smaller passes, which differ in the last bits
MAX_DIFFERENCE = 0.01  # greatest accepted difference of a probability from float32
MIXED_PRECISION_NOTE = f"predictions may differ by {MAX_DIFFERENCE}."
log = logging.getLogger(__name__)
TILES_PER_PASS = 32


@dataclass(frozen=True)
class ModelIdentity:
    """What the predictions of a model depend on, apart from the slide and the options; equal for equal predictions.

    ``name``, ``weights``, ``predictions``: of what reads the tiles, as in ``TileModelInfo``. ``whole``: the whole-slide
    model that predicts from the embeddings of the tiles, if any.
    """

    name: str
    weights: str
    predictions: str = ""
    whole: BundleInfo | None = None

    @property
    def tile_settings(self) -> dict[str, str]:
        """What the predictions of tiles depend on, as in the settings of a store."""
        settings = {"model": self.name, "weights": self.weights}
        return {**settings, "predictions": self.predictions} if self.predictions else settings

    @property
    def result(self) -> tuple[str, str, str]:
        """Name, hash of the weights, and hash of what else determines the predictions, as in ``result.json``."""
        if self.whole is None:
            return self.name, self.weights, self.predictions
        return self.whole.name, self.whole.fingerprint, self.whole.prediction_fingerprint()

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        return hashlib.sha256(json.dumps([self.tile_settings, self.result], sort_keys=True).encode()).hexdigest()


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

    @property
    def identity(self) -> ModelIdentity:
        """What its predictions depend on."""
        return ModelIdentity(self.name, self.fingerprint, self.prediction_fingerprint)


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
    def identity(self) -> ModelIdentity:
        """What its predictions depend on, and those of the whole slide."""
        return replace(self.info.identity, whole=None if self.bags is None else self.bags.info)

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


class TileNoveltyDetector:
    """Detects tiles that are out of distribution by their distance from the training tiles of a bundle."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork, detector: MahalanobisDetector) -> None:
        assert info.config.novelty_threshold is not None
        self.limit = info.config.novelty_threshold
        self._info = info
        self._network = network
        self._detector = detector

    @classmethod
    def from_bundle(cls, info: BundleInfo, device: str | None = None) -> Self | None:
        """Read the textures of training tiles that a bundle stores; None if there are none, or too few."""
        reference = read_reference(info) if info.config.novelty_threshold is not None else None
        if reference is None or reference.textures is None or len(reference.textures) < MIN_TRAINING_CASES:
            return None
        network = load_inference(info, device)
        if "textures" not in network.functions:
            raise BundleError(
                f"'{info.name}' stores textures, but its network has no encoder. Copy or download it again."
            )
        return cls(info, network, MahalanobisDetector.fit(reference.textures))

    def distances(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the distances of tiles from the training tiles.

        ``tiles``: each uint8 (row, column, channel), at the scale of the bundle. Returns float64 (tile,); tiles above
        ``limit`` are out of distribution.
        """
        starts = range(0, len(tiles), TILES_PER_PASS)
        textures = [self._textures(tiles[first : first + TILES_PER_PASS]) for first in starts]
        return self._detector.distance(np.concatenate(textures)) if textures else np.zeros(0)

    def _textures(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the textures of some tiles, float32 (tile, feature); in halves if memory runs out."""
        config = self._info.config
        inputs = [prepare_network_input(tile, config.input_size, config.preprocessing) for tile in tiles]
        try:
            return self._network.run("textures", image=normalize_images(inputs, config))["textures"]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise out_of_memory_error(self._info.name, self._network.device) from error
        half = (len(tiles) + 1) // 2  # outside the handler, where the failed call has released its memory
        return np.concatenate([self._textures(tiles[:half]), self._textures(tiles[half:])])

    def is_out_of_distribution(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which tiles are out of distribution, bool (tile,).

        On slides similar to the training slides, this is about one tile in a hundred; a larger share indicates a
        different type of slide.
        """
        return self.distances(tiles) > self.limit
