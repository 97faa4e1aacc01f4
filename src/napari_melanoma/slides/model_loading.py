"""Load the model of a slide analysis: a bundle or an encoder, and what runs it.

On processors that support bfloat16, either ONNX Runtime in float32 or torch in bfloat16 may be faster, depending on the
network. Both are measured at the first use of a model.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_melanoma.core.context import network_threads
from napari_melanoma.core.errors import BundleError, ConfigError, MelanomaError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.packages import NETWORK_PACKAGES, require_packages
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import installed_version
from napari_melanoma.data.class_names import MALIGNANT, UNSPECIFIC, read_class_name
from napari_melanoma.models.bundle import REFERENCE_FILE, BundleConfig, BundleInfo
from napari_melanoma.models.hub import ENCODER
from napari_melanoma.models.inference import BACKEND_VARIABLE, TorchNetwork, find_device, load_inference
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import (
    FOUNDATION_ENCODERS,
    LICENCE_OF_FILE,
    TIMM,
    WEIGHTS_ADVICE,
    WEIGHTS_FILE,
    FoundationEncoder,
    load_foundation,
    load_timm,
)
from napari_melanoma.models.torch_inference import Precision
from napari_melanoma.models.weights_files import fingerprint_weights
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.slides.lesions import default_lesion_class
from napari_melanoma.slides.tile_models import (
    ModelIdentity,
    OnnxPasses,
    TileModel,
    TileModelInfo,
    TilePasses,
    TorchPasses,
)
from napari_melanoma.slides.tissue_classifier.bundle import TissuePasses, load_tissue_passes

if TYPE_CHECKING:
    from torch import nn


PROCESSOR = Path("/proc/cpuinfo")  # of Linux
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of Intel and AMD, and of Arm
MEASURED_TILES, REPEATS = 16, 3


def choose_passes(info: TileModelInfo, passes: OnnxPasses, load_torch: Callable[[], TorchPasses]) -> TilePasses:
    """Return what predicts faster: ``passes``, or those of torch in bfloat16.

    Without bfloat16 in the processor, torch is not loaded. The result of a measurement is remembered.
    """
    is_open = os.environ.get(BACKEND_VARIABLE, "auto") == "auto"
    if not (is_open and has_bfloat16() and installed_version("torch")):
        return passes
    versions = " ".join(f"{name} {installed_version(name)}" for name in ("torch", "onnxruntime"))
    key = f"{info.kind} {info.fingerprint} {versions}, {network_threads()} threads"
    remembered = _read_choices().get(key)
    if remembered == passes.backend:
        return passes
    torch_passes = load_torch()
    if remembered == torch_passes.backend:
        return torch_passes
    seconds = {candidate.backend: _measure(candidate, info.side_px) for candidate in (passes, torch_passes)}
    fastest = min(seconds, key=lambda backend: seconds[backend])
    log.info("'%s' runs with %s: seconds for %d tiles: %s", info.name, fastest, MEASURED_TILES, seconds)
    with suppress(SaveError):  # measured again next time
        write_json(choices_path(), {**_read_choices(), key: fastest})
    return passes if fastest == passes.backend else torch_passes


@cache
def has_bfloat16() -> bool:
    """Whether the processor supports bfloat16, according to Linux; False elsewhere. Unlike torch's, fast."""
    try:
        lines = PROCESSOR.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not BF16_FLAGS.isdisjoint(flags.split())


def choices_path() -> Path:
    """Return the file with the back ends of the models measured so far."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "backends.json"


def _read_choices() -> dict[str, str]:
    try:
        content = read_json(choices_path())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _measure(passes: TilePasses, side: int) -> float:
    """Return the seconds of a pass, the least of a few."""
    tiles = np.random.default_rng(0).integers(0, 256, (MEASURED_TILES, side, side, 3), np.uint8)
    seconds = []
    for _ in range(REPEATS + 1):  # the first one also prepares the network
        started = time.perf_counter()
        passes.run(tiles, MEASURED_TILES)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


TIMM_MPP = 0.5  # assumed for encoders of timm
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a model; ``weights``: file for an encoder, ``device``, ``precision``: None to choose them."""

    weights: Path | None = None
    download: bool = False
    device: str | None = None
    batch_size: int = 32
    precision: Precision | None = None


def detects_tumors(config: BundleConfig) -> bool:
    """Whether a model finds tumors on real slides; not a demonstration, nor one that classifies single patches."""
    if not config.is_slide_model or config.is_demonstration or config.task == "embedding":
        return False
    if config.tissue is not None:
        return bool(config.tissue.roles.get("tumor"))
    return config.tile is not None and any(
        read_class_name(name) in (*MALIGNANT, *UNSPECIFIC) for name in config.classes
    )


def identify_model(name: str, weights: Path | None = None) -> ModelIdentity | None:
    """Return what the predictions of a model depend on, without loading it, as ``TileModel.identity`` of a loaded one.

    None if it is known only after loading, such as of weights to download. ``weights``: file of an encoder.
    """
    whole = _find_slide_bundle(name)
    if whole is not None:
        assert whole.config.encoder is not None
        name = whole.config.encoder.name
    try:
        if name in FOUNDATION_ENCODERS or name.startswith(TIMM):
            # A whole-slide model is loaded only with the weights of its training.
            known = whole.config.encoder.fingerprint if whole is not None and whole.config.encoder is not None else ""
            fingerprint = known if weights is None else fingerprint_weights(weights)
            tiles = ModelIdentity(name, fingerprint) if fingerprint else None
        else:
            tiles = _describe_by_name(name)[1].identity
    except MelanomaError:  # which loading reports
        return None
    return None if tiles is None else replace(tiles, whole=whole)


def load_tile_model(name: str, options: LoadOptions) -> TileModel:
    """Load a tile model by the name of a bundle or encoder, see ``SlideOptions.model``."""
    info, passes = _load_by_name(name, options)
    model = TileModel(info, passes, options.batch_size, options.precision)
    if isinstance(passes, TissuePasses):
        model.novelty = passes.share_out_of_distribution
    return model


def _load_by_name(name: str, options: LoadOptions) -> tuple[TileModelInfo, TilePasses]:
    if name in FOUNDATION_ENCODERS or name.startswith(TIMM):
        require_packages(f"the encoder '{name}'", NETWORK_PACKAGES, "select a model with graphs")
        encoder = FOUNDATION_ENCODERS.get(name)
        info, network = _load_foundation_encoder(encoder, options) if encoder else _load_timm_encoder(name, options)
        return info, TorchPasses(info, network, find_device(options.device), options.precision)
    bundle, info = _describe_by_name(name)
    return info, _load_passes(bundle, info, options)


def _describe_by_name(name: str) -> tuple[BundleInfo, TileModelInfo]:
    """Find a bundle, or the one of an encoder, and describe how it reads tiles."""
    if name.startswith(ENCODER):
        bundle = find_bundle(name.removeprefix(ENCODER), of_slides=True)
        return bundle, _describe_bundle_encoder(bundle)
    try:
        bundle = find_bundle(name, of_slides=True)
    except BundleError as error:
        if Path(name).exists() or "there is no model named" not in str(error):
            raise
        encoders = ", ".join(FOUNDATION_ENCODERS)
        raise BundleError(f"{error} Tile encoders: {encoders}, timm:NAME, or encoder:BUNDLE.") from None
    return bundle, _describe_bundle_encoder(bundle) if bundle.config.task == "embedding" else _describe_bundle(bundle)


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
        fingerprint_weights(weights),
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


def _load_timm_encoder(name: str, options: LoadOptions) -> tuple[TileModelInfo, nn.Module]:
    """Load any network of timm as an encoder."""
    if options.weights is None and not options.download:
        raise BundleError(f"the weights of '{name}' are not included, but published by timm. {WEIGHTS_ADVICE}")
    network = load_timm(name, options.weights)
    config: dict[str, Any] = cast("Any", network).pretrained_cfg
    published = str(config.get("license") or "see the encoder's page in timm")
    licence = published if options.weights is None else LICENCE_OF_FILE
    fingerprint = fingerprint_weights(options.weights) if options.weights else _hash_network(network)
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
    return info, network


def _describe_bundle_encoder(bundle: BundleInfo) -> TileModelInfo:
    """Describe the encoder of a bundle; an embedding is the mean of the deepest feature maps over a tile."""
    return replace(
        _describe_bundle(bundle),
        name=f"{ENCODER}{bundle.name}",
        kind="embedding",
        classes=(),
        positive="",
        bundle="",
        prediction_fingerprint=bundle.prediction_fingerprint(calibrated=False),
    )


def _describe_bundle(bundle: BundleInfo) -> TileModelInfo:
    """Describe a bundle for slides; raise BundleError if it does not predict tiles."""
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
        margin_px=config.margin_px,
        smoothing=config.tissue.smoothing if config.tissue is not None else 0.0,
        role_names=config.role_names,
        channels=config.tissue.channels if config.tissue is not None else None,
    )
    classifier = config.classifier
    if config.task == "embedding":
        return info
    if config.tissue is not None:
        return replace(info, positive=config.tissue.roles.get("tumor", ""))
    if classifier is None:
        return replace(info, positive=default_lesion_class(config.classes))
    point = classifier.operating_point
    return replace(info, positive=classifier.positive, threshold=point.threshold if point else 0.5)


def _load_passes(bundle: BundleInfo, info: TileModelInfo, options: LoadOptions) -> TilePasses:
    """Load the network of a bundle, with the conversion of logits to probabilities."""
    if bundle.config.tissue is not None:
        if info.kind == "embedding":
            raise _no_encoder_error(bundle)
        return load_tissue_passes(bundle, options.weights, options.device)
    if options.precision == "bf16" and os.environ.get(BACKEND_VARIABLE) == "onnxruntime":
        raise ConfigError("precision is 'bf16', but ONNX Runtime computes in 'fp32' only. Set one of both to 'auto'.")
    network = load_inference(bundle, options.device, "torch" if options.precision == "bf16" else "auto")
    if isinstance(network, TorchNetwork):
        return _torch_passes(bundle, info, network, options.precision)
    if info.kind == "embedding" and "embed" not in network.functions:
        raise _no_encoder_error(bundle)
    passes = OnnxPasses(info, network, bundle.config.classifier if info.kind == "classification" else None)
    if options.precision is not None:
        return passes

    def load_torch() -> TorchPasses:
        loaded = load_inference(bundle, "cpu", "torch")
        assert isinstance(loaded, TorchNetwork)
        return _torch_passes(bundle, info, loaded, "bf16")

    return choose_passes(info, passes, load_torch)


def _torch_passes(
    bundle: BundleInfo, info: TileModelInfo, network: TorchNetwork, precision: Precision | None
) -> TorchPasses:
    from napari_melanoma.models.network_functions import MeanEmbedding, make_cells
    from napari_melanoma.slides.class_probabilities import ClassProbabilities

    outputs: nn.Module
    if info.kind == "embedding":
        encoder = find_encoder(network.network)
        if encoder is None:
            raise _no_encoder_error(bundle)
        outputs = MeanEmbedding(encoder)
    elif bundle.config.classifier is None:
        outputs = make_cells(network.network, bundle.config)
    else:
        outputs = ClassProbabilities(cast("Any", network.network), bundle.config.classifier)
    return TorchPasses(info, outputs, network.device, precision)


def _no_encoder_error(bundle: BundleInfo) -> BundleError:
    return BundleError(
        f"the network of '{bundle.name}' ({bundle.config.architecture}) has no encoder. Select another model."
    )


def _hash_network(network: nn.Module) -> str:
    """Return the SHA-256 of loaded weights, as other weights may be published under the same name."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
