"""Models for slides: tile models from bundles, timm and published encoders, and whole-slide models on top of them."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.core.errors import BundleError, MelanomaError, RunError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.lesion.segmentation import SegmentationModel
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.models.bundle import REFERENCE_FILE, BundleInfo, load_network, read_reference
from napari_melanoma.models.inference import (
    Precision,
    choose_device,
    choose_precision,
    fold_normalization,
    is_out_of_memory,
    memory_layout,
    to_tensor,
)
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import (
    FOUNDATION_ENCODERS,
    WEIGHTS_FILE,
    FoundationEncoder,
    load_all_weights,
    load_foundation,
)
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.slides.lesions import default_lesion_class

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_melanoma.core.prediction_config import EncoderConfig
    from napari_melanoma.io.slide_store import TileKind
    from napari_melanoma.models.blocks.bags import BagNetwork

MAX_DIFFERENCE = 0.01  # greatest accepted difference of a probability from float32
WEIGHTS_ADVICE = (
    "Select the file as 'weights' under Options in the Slide dock, or allow the download there (Python: "
    "options={'weights': FILE} or {'download': True}, command line: --weights FILE, --download)."
)
MIXED_PRECISION_NOTE = f"predictions may differ by {MAX_DIFFERENCE}."
DENSE_STEP = 4  # pixels of a tile along the side of a cell of its dense map
TIMM, ENCODER = "timm:", "encoder:"  # prefixes of model names
TIMM_MPP = 0.5  # assumed for encoders of timm
TILES_PER_PASS = 32
PASS_STEP = 16  # with one thread, PyTorch uses other algorithms for smaller passes, which differ in the last bits
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


@dataclass(frozen=True)
class TileModelInfo:
    """Metadata of a tile model.

    ``kind``: what it predicts. ``side_px``: side of its input. ``mpp``: micrometers per pixel of its training data.
    ``mean``, ``std``: of its normalization, for RGB in [0, 1]. ``fingerprint``: hash of the weights. ``positive``:
    class that lesions are detected with. ``bundle``: path of the bundle; empty for other encoders. ``calibrated``: None
    if it cannot be calibrated. ``terms``: license to show to the user. ``prediction_fingerprint``: hash of what else
    determines the predictions of a bundle.
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


class TileModel:
    """A network for predicting tiles.

    ``network``: in float32 and evaluation mode; maps normalized images (batch, 3, row, column) to probabilities or
    values (batch, class), embeddings (batch, feature), or probability maps (batch, class, row, column).
    """

    def __init__(
        self,
        info: TileModelInfo,
        network: nn.Module,
        device: str = "cpu",
        batch_size: int = 32,
        precision: Precision | None = None,
    ) -> None:
        import torch

        self.info = info
        self.device = device
        self.batch_size = batch_size
        self.bags: BagModel | None = None  # predicts the slide from embeddings, in a whole-slide model
        self.precision = precision or choose_precision(device)
        self._notice_callback: Callable[[str], None] = log.info
        self._initial_precision, self._requested_precision = self.precision, precision
        self._network = self._prepare_network(network, self.precision)
        # Needed for comparing predictions, and because each slide may start or resume in either precision.
        self._exact = self._network if self.precision == "fp32" else network
        # For a row of pixels, channels last; whole rows are computed faster than pixels.
        std, mean = torch.tensor(self.info.std), torch.tensor(self.info.mean)
        rows = (1 / (255 * std)).repeat(self.info.side_px), (-mean / std).repeat(self.info.side_px)
        self._scale, self._shift = rows[0].to(self.device), rows[1].to(self.device)

    def set_notice_callback(self, callback: Callable[[str], None]) -> None:
        """Set the function that receives messages for the user, such as a license."""
        self._notice_callback = callback
        if self.info.terms:
            callback(f"'{self.info.name}' has its own license: {self.info.terms}")

    def predict(self, tiles: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """Predict tiles, in as many forward passes as the batch size requires.

        If memory runs out, the batch size is halved. ``tiles``: uint8 (tile, row, column, channel=3), of side
        ``info.side_px``. Returns tensors on the device of the network, possibly still being computed: ``probability``
        (tile, class), ``embedding`` (tile, feature) or ``dense`` (tile, class, row, column), depending on the kind of
        model.
        """
        import torch

        while True:
            try:
                size = self.batch_size
                parts = [self._predict_pass(tiles[first : first + size]) for first in range(0, len(tiles), size)]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise out_of_memory_error(self.info.name, self.device) from error
            else:
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            self._halve_batch_size()

    def choose_precision(self, tiles: NDArray[np.uint8]) -> float:
        """Compare a few tiles with float32, and switch to it if half precision changes predictions too much.

        ``tiles``: uint8 (tile, row, column, channel=3), at most one batch. Returns the greatest difference of a
        probability, or of an embedding or value relative to the standard deviation; 0 in float32.
        """
        if self.precision == "fp32" or not len(tiles):
            return 0.0
        difference = _max_difference(self, tiles, self._exact)
        if difference > MAX_DIFFERENCE:
            self._set_precision("fp32")
            self._notice_callback(
                f"half precision changed a prediction by {difference:.3f}: computing in float32, which is slower."
            )
        return difference

    def reset(self, batch_size: int) -> None:
        """Reset precision and batch size, which a previous slide may have changed."""
        self.batch_size = batch_size
        self._set_precision(self._initial_precision)

    def resume_with(self, precision: Precision, batch_size: int) -> None:
        """Use the precision and batch size of an analysis that is resumed, for consistent predictions."""
        self.batch_size = batch_size
        if precision == self.precision:
            return
        if precision == "bf16" and choose_precision(self.device) != "bf16":
            self._notice_callback(
                f"started in bf16, which this {self.device} does not support; resuming in fp32: {MIXED_PRECISION_NOTE}"
            )
            return
        self._set_precision(precision)
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

    def _set_precision(self, precision: Precision) -> None:
        if precision != self.precision:
            self.precision, self._network = precision, self._prepare_network(self._exact, precision)

    def _prepare_network(self, network: nn.Module, precision: Precision) -> nn.Module:
        """Convert a copy of a network for fast inference."""
        import torch

        folded = fold_normalization(network)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return folded.to(device=self.device, dtype=dtype).to(memory_format=memory_layout(self.device))

    def _predict_pass(self, tiles: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """Predict tiles in one forward pass, padded to a multiple of ``PASS_STEP`` or to the batch size."""
        import torch

        count, side = len(tiles), self.info.side_px
        size = min(self.batch_size, -(-count // PASS_STEP) * PASS_STEP)
        if count < size:
            tiles = np.concatenate([tiles, np.zeros((size - count, *tiles.shape[1:]), np.uint8)])
        with torch.inference_mode():
            rows = torch.from_numpy(tiles).to(self.device, non_blocking=True).view(-1, 3 * side)
            rows = rows.float().mul_(self._scale).add_(self._shift)
            if self.precision == "bf16":
                rows = rows.to(torch.bfloat16)
            images = rows.view(size, side, side, 3).permute(0, 3, 1, 2)  # channels last; a copy only for Apple's GPUs
            images = images.contiguous(memory_format=memory_layout(self.device))
            return _name_outputs(self.info.kind, self._network(images)[:count])

    def _halve_batch_size(self) -> None:
        import torch

        gc.collect()  # the frames of the error referenced the tensors of the pass
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = max(1, self.batch_size // 2)
        self._notice_callback(f"out of memory: continuing with {self.batch_size} tiles per pass.")


def _name_outputs(kind: TileKind, output: torch.Tensor) -> dict[str, torch.Tensor]:
    """Convert the output of a network to named arrays; for dense maps, also return the mean of each class in a tile."""
    import torch

    if kind == "embedding":
        return {"embedding": output.to(torch.float16)}
    if kind != "dense":
        return {"probability": output.float()}
    cells = torch.nn.functional.avg_pool2d(output.float(), DENSE_STEP)
    return {"probability": cells.mean(dim=(2, 3)), "dense": cells.mul(255).round_().to(torch.uint8)}


def _max_difference(model: TileModel, tiles: NDArray[np.uint8], exact: nn.Module) -> float:
    import torch

    reference = TileModel(model.info, exact, model.device, model.batch_size, "fp32")
    difference = 0.0
    with torch.inference_mode():
        outputs, exact_outputs = model.predict(tiles), reference.predict(tiles)
        for name, values in exact_outputs.items():
            scale = 255.0 if name == "dense" else 1.0
            if model.info.kind in ("embedding", "regression"):
                scale = max(float(values.float().std()), 1e-6) if values.numel() > 1 else 1.0
            difference = max(difference, float((outputs[name].float() - values.float()).abs().max()) / scale)
    return difference


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a model; ``weights``: file for an encoder, ``device``, ``precision``: None to choose them."""

    weights: Path | None = None
    download: bool = False
    device: str | None = None
    batch_size: int = 32
    precision: Precision | None = None


def load_tile_model(name: str, options: LoadOptions) -> TileModel:
    """Load a tile model by the name of a bundle or encoder, see ``SlideOptions.model``."""
    if options.device not in (None, "cpu", choose_device()):
        raise RunError(
            f"device is '{options.device}', but torch finds no such device. Set it to 'auto', or run: napari-melanoma "
            "doctor."
        )
    info, network = _load_by_name(name, options)
    return TileModel(info, network, options.device or choose_device(), options.batch_size, options.precision)


def _load_by_name(name: str, options: LoadOptions) -> tuple[TileModelInfo, nn.Module]:
    if name in FOUNDATION_ENCODERS:
        return _load_foundation_encoder(FOUNDATION_ENCODERS[name], options)
    if name.startswith(TIMM):
        return _load_timm(name, options)
    if name.startswith(ENCODER):
        return _load_bundle_encoder(find_bundle(name.removeprefix(ENCODER), of_slides=True))
    try:
        return _load_bundle(find_bundle(name, of_slides=True))
    except BundleError as error:
        if Path(name).exists() or "there is no model named" not in str(error):
            raise
        encoders = ", ".join(FOUNDATION_ENCODERS)
        raise BundleError(f"{error} Tile encoders: {encoders}, timm:NAME, or encoder:BUNDLE.") from None


def _load_foundation_encoder(encoder: FoundationEncoder, options: LoadOptions) -> tuple[TileModelInfo, nn.Module]:
    """Load a published encoder from a local file or, if allowed, from the hub."""
    weights = options.weights or _download_weights(encoder, options)
    info = TileModelInfo(
        encoder.name,
        "embedding",
        (),
        encoder.side_px,
        encoder.mpp,
        encoder.mean,
        encoder.std,
        encoder.licence,
        hash_weights(weights),
        terms=f"{encoder.licence}. {encoder.page}",
    )
    return info, load_foundation(encoder, weights)


def _download_weights(encoder: FoundationEncoder, options: LoadOptions) -> Path:
    if not options.download:
        raise BundleError(
            f"the weights of '{encoder.name}' are not included ({encoder.licence}). Download {WEIGHTS_FILE} "
            f"from {encoder.page}. {WEIGHTS_ADVICE}"
        )
    from huggingface_hub import hf_hub_download

    log.info("downloading the weights of '%s' from %s", encoder.name, encoder.page)
    try:
        return Path(hf_hub_download(encoder.hub, WEIGHTS_FILE))
    except Exception as error:  # the hub raises many kinds of errors for a failed download
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"the weights of '{encoder.name}' could not be downloaded from {encoder.page}: {reason}. Accept the "
            "license there and log in with 'hf auth login', or download the file and select it as 'weights' under "
            "Options in the Slide dock (Python: options={'weights': FILE}, command line: --weights FILE)."
        ) from error


def _load_timm(name: str, options: LoadOptions) -> tuple[TileModelInfo, nn.Module]:
    """Load any network of timm as an encoder."""
    import timm

    from napari_melanoma.models.weights_files import read_weights

    timm_name = name.removeprefix(TIMM)
    if not timm.is_model(timm_name):
        raise BundleError(f"timm has no encoder named '{timm_name}'. Its documentation lists their names.")
    if options.weights is None and not options.download:
        raise BundleError(f"the weights of '{name}' are not included, but published by timm. {WEIGHTS_ADVICE}")
    network = timm.create_model(timm_name, pretrained=options.weights is None, num_classes=0)
    config: dict[str, Any] = cast("Any", network).pretrained_cfg
    licence = str(config.get("license") or "see the encoder's page in timm")
    if options.weights is not None:
        expected, stored = network.state_dict(), read_weights(options.weights)
        load_all_weights(network, {key: value for key, value in stored.items() if key in expected}, options.weights)
        licence = "that of the given file"
    fingerprint = hash_weights(options.weights) if options.weights else _hash_network(network)
    side = int(config["input_size"][-1])
    info = TileModelInfo(
        name,
        "embedding",
        (),
        side,
        TIMM_MPP,
        tuple(config["mean"]),
        tuple(config["std"]),
        licence,
        fingerprint,
        terms=licence,
    )
    return info, network.eval()


def _load_bundle_encoder(bundle: BundleInfo) -> tuple[TileModelInfo, nn.Module]:
    """Load the encoder of a bundle for slides; an embedding is the mean of the deepest feature maps over a tile."""
    from napari_melanoma.slides import tile_outputs

    info, _ = _load_bundle(bundle)
    encoder = find_encoder(load_network(bundle))
    if encoder is None:
        raise BundleError(
            f"the network of '{bundle.name}' ({bundle.config.architecture}) has no encoder. Select another model."
        )
    encoder_info = replace(
        info,
        name=f"{ENCODER}{bundle.name}",
        kind="embedding",
        classes=(),
        positive="",
        bundle="",
        prediction_fingerprint=bundle.prediction_fingerprint(calibrated=False),
    )
    return encoder_info, tile_outputs.MeanEmbedding(encoder)


def _load_bundle(bundle: BundleInfo) -> tuple[TileModelInfo, nn.Module]:
    """Load a bundle for slides, with the conversion of logits to probabilities."""
    from napari_melanoma.slides import tile_outputs

    config = bundle.config
    if config.tile is None:
        reason = "predicts from a patch, not from tiles" if config.is_slide_model else "is a model for photographs"
        raise BundleError(
            f"'{bundle.name}' {reason}: it has no scale for slides. Select a model of tiles, see: napari-melanoma "
            "models list (Python: nm.list_models())."
        )
    if config.encoder is not None:
        raise BundleError(
            f"'{bundle.name}' predicts whole slides from embeddings of '{config.encoder.name}', not tiles."
        )
    if config.preprocessing.is_on:
        raise BundleError(
            f"'{bundle.name}' requires preprocessing ({config.preprocessing.description}), which the analysis of "
            "slides does not support; it has a stain normalization of its own."
        )
    if config.tabular is not None and config.tabular.columns:
        raise BundleError(f"'{bundle.name}' requires patient data, which tiles of a slide do not have.")
    mpp = config.tile.side_um / config.input_size
    info = TileModelInfo(
        bundle.name,
        "dense" if config.task == "segmentation" else "classification",
        config.classes,
        config.input_size,
        mpp,
        config.mean,
        config.std,
        config.licence,
        bundle.fingerprint,
        threshold=config.threshold,
        bundle=str(bundle.path),
        demonstration=config.is_demonstration,
        synthetic_share=config.synthetic_share,
        calibrated=None if config.classifier is None else (bundle.path / REFERENCE_FILE).is_file(),
        prediction_fingerprint=bundle.prediction_fingerprint(),
    )
    network = load_network(bundle)
    if config.classifier is None:
        return replace(info, positive=default_lesion_class(config.classes)), tile_outputs.PixelProbabilities(
            network, len(config.classes)
        )
    classifier = config.classifier
    point = classifier.operating_point
    network_with_probabilities = tile_outputs.ClassProbabilities(cast("Any", network), classifier)
    return replace(
        info, positive=classifier.positive, threshold=point.threshold if point else 0.5
    ), network_with_probabilities


def _hash_network(network: nn.Module) -> str:
    """Return the SHA-256 of loaded weights, as other weights may be published under the same name."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_weights(weights: Path) -> str:
    """Return the SHA-256 of a weights file."""
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"cannot read weights from {weights}: {error.strerror}. Select an existing file.") from error


class TileNoveltyDetector:
    """Detects tiles that are out of distribution by their distance from the training tiles of a bundle."""

    def __init__(
        self, info: BundleInfo, encoder: nn.Module, detector: MahalanobisDetector, device: str = "cpu"
    ) -> None:
        assert info.config.novelty_threshold is not None
        self.limit = info.config.novelty_threshold
        self._name = info.name
        self._config = info.config
        self._encoder = encoder
        self._detector = detector
        self._device = device

    @classmethod
    def from_bundle(cls, info: BundleInfo, device: str | None = None) -> Self | None:
        """Read the textures of training tiles that a bundle stores; None if there are none, or too few."""
        reference = read_reference(info) if info.config.novelty_threshold is not None else None
        if reference is None or reference.textures is None or len(reference.textures) < MIN_TRAINING_CASES:
            return None
        encoder = find_encoder(load_network(info))
        if encoder is None:
            raise BundleError(
                f"'{info.name}' stores textures, but its network has no encoder. Copy or download it again."
            )
        device = device or choose_device()
        return cls(info, encoder.to(device), MahalanobisDetector.fit(reference.textures), device)

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
        import torch

        from napari_melanoma.models.blocks.timm_encoder import texture_features

        config = self._config
        inputs = [prepare_network_input(tile, config.input_size, config.preprocessing) for tile in tiles]
        try:
            with torch.inference_mode():
                maps = self._encoder(to_tensor(inputs, config, self._device))
                return texture_features(maps, config.input_size).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise out_of_memory_error(self._name, self._device) from error
        half = (len(tiles) + 1) // 2  # outside the handler, where the failed call has released its memory
        return np.concatenate([self._textures(tiles[:half]), self._textures(tiles[half:])])

    def is_out_of_distribution(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which tiles are out of distribution, bool (tile,).

        On slides similar to the training slides, this is about one tile in a hundred; a larger share indicates a
        different type of slide.
        """
        return self.distances(tiles) > self.limit


class TissueSegmenter(SegmentationModel):
    """Model of a bundle that predicts the class probabilities of the pixels of an image."""

    @staticmethod
    def check_bundle(info: BundleInfo) -> None:
        """Raise BundleError if a model does not segment several classes."""
        if info.config.task != "segmentation" or info.config.segments_one_class:
            raise BundleError(f"'{info.name}' does not segment several classes, expected a model that does.")

    def probabilities(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict class probabilities of pixels.

        ``rgb``: uint8 (row, column, channel), of any size; resized to the input size of the bundle. Returns float32
        (class, row, column) of the size of the image: a softmax over the logits, which are resized first.
        """
        import torch

        config = self.info.config
        prepared = prepare_network_input(rgb, config.input_size, config.preprocessing)
        with torch.inference_mode():
            logits = self._network(to_tensor([prepared], config, self.device))[0].float()
            if logits.shape[1:] != rgb.shape[:2]:
                logits = torch.nn.functional.interpolate(logits[None], rgb.shape[:2], mode="bilinear")[0]
            return logits.softmax(0).cpu().numpy()

    def predict_labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the class of pixels.

        ``rgb``: uint8 (row, column, channel), of any size. Returns uint8 (row, column), the index of the most probable
        class; the first for equal probabilities.
        """
        return self.probabilities(rgb).argmax(0).astype(np.uint8)


@dataclass(frozen=True)
class SlidePrediction:
    """Prediction for a slide.

    ``probability``: float64 (class,), calibrated. ``logits``: float32 (class,), before calibration. ``embedding``:
    float32 (feature,) of the whole slide. ``weights``: float32 (tile,), in the order of the tiles, adding up to 1.
    """

    probability: NDArray[np.float64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    weights: NDArray[np.float32]


class BagModel:
    """Model of a bundle that predicts a slide from the embeddings of its tiles."""

    def __init__(self, info: BundleInfo, network: BagNetwork, device: str = "cpu") -> None:
        self.info = info
        self.device = device
        self.calibration = PredictionCalibration.from_bundle(info)
        self._network = network.to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load the weights of a bundle."""
        if info.config.encoder is None:
            raise BundleError(f"'{info.name}' does not predict from tile embeddings, expected a model that does.")
        return cls(info, cast("BagNetwork", load_network(info)), device or choose_device())

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder of the embeddings."""
        assert self.info.config.encoder is not None
        return self.info.config.encoder

    def predict(self, chunks: Iterable[NDArray[np.floating]]) -> SlidePrediction:
        """Predict a slide from the embeddings of all its tiles.

        ``chunks``: float (tile, feature) from the encoder of the bundle, at least one tile. Except for rounding, the
        result does not depend on the order and the chunks of tiles.
        """
        import torch

        with torch.inference_mode():
            pooled = self._network.pool_chunks(_to_tensors(chunks))
        logits = pooled.logits.cpu().numpy()
        probability = self.calibration.probabilities(logits[None])[0]
        return SlidePrediction(probability, logits, pooled.embedding.cpu().numpy(), pooled.weights.cpu().numpy())

    def is_out_of_distribution(self, prediction: SlidePrediction) -> bool:
        """Return whether a slide is out of distribution; False if the bundle has no reference cases."""
        config, reference = self.calibration.config, self.calibration.reference
        if config.novelty_threshold is None or reference is None:
            return False
        return bool(
            MahalanobisDetector.fit(reference.embeddings).distance(prediction.embedding[None])[0]
            > config.novelty_threshold
        )


def _to_tensors(chunks: Iterable[NDArray[np.floating]]) -> Iterator[Tensor]:
    import torch

    for chunk in chunks:
        yield torch.from_numpy(np.ascontiguousarray(chunk, np.float32))


def load_slide_model(name: str, options: LoadOptions) -> TileModel:
    """Load a slide model; for a whole-slide model, its encoder with the bundle as ``bags``."""
    bundle = _find_slide_bundle(name)
    if bundle is None:
        return load_tile_model(name, options)
    encoder, tile = bundle.config.encoder, bundle.config.tile
    assert encoder is not None
    assert tile is not None
    try:
        model = load_tile_model(encoder.name, options)
    except BundleError as error:
        raise BundleError(f"'{bundle.name}' requires the encoder '{encoder.name}': {error}") from error
    if model.info.fingerprint != encoder.fingerprint or model.info.side_px != tile.side_px:
        raise BundleError(
            f"'{bundle.name}' was trained on embeddings of '{encoder.name}' with weights {encoder.fingerprint[:12]} "
            f"and tiles of {tile.side_px} pixels, found weights {model.info.fingerprint[:12]} and "
            f"{model.info.side_px} pixels. Select the weights of its training as 'weights' under Options in the Slide "
            "dock (Python: options={'weights': FILE}, command line: --weights FILE)."
        )
    model.info = replace(model.info, mpp=tile.mpp)
    model.bags = BagModel.load(bundle, model.device)
    return model


def _find_slide_bundle(name: str) -> BundleInfo | None:
    """Find the bundle of a whole-slide model by name; None for other models and unknown names."""
    try:
        bundle = find_bundle(name)
    except BundleError:  # an encoder, or an unknown name, which loading reports
        return None
    return bundle if bundle.config.encoder is not None else None
