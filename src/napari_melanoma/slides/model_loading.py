"""Loading of slide models by name: bundles, encoders of timm, and published encoders."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.packages import NETWORK_PACKAGES, require_packages
from napari_melanoma.models.bundle import REFERENCE_FILE, BundleInfo
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
    hash_weights,
    load_foundation,
    load_timm,
)
from napari_melanoma.models.torch_inference import Precision
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.slides.backend_choice import choose_passes
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.slides.lesions import default_lesion_class
from napari_melanoma.slides.tile_models import TileModel
from napari_melanoma.slides.tile_passes import OnnxPasses, TileModelInfo, TilePasses, TorchPasses
from napari_melanoma.slides.tissue_classifier.bundle import TissuePasses, load_tissue_passes

if TYPE_CHECKING:
    from torch import nn

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
    if name.startswith(ENCODER):
        bundle = find_bundle(name.removeprefix(ENCODER), of_slides=True)
        info = _describe_bundle_encoder(bundle)
        return info, _load_passes(bundle, info, options)
    try:
        bundle = find_bundle(name, of_slides=True)
    except BundleError as error:
        if Path(name).exists() or "there is no model named" not in str(error):
            raise
        encoders = ", ".join(FOUNDATION_ENCODERS)
        raise BundleError(f"{error} Tile encoders: {encoders}, timm:NAME, or encoder:BUNDLE.") from None
    info = _describe_bundle_encoder(bundle) if bundle.config.task == "embedding" else _describe_bundle(bundle)
    return info, _load_passes(bundle, info, options)


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


def _load_timm_encoder(name: str, options: LoadOptions) -> tuple[TileModelInfo, nn.Module]:
    """Load any network of timm as an encoder."""
    if options.weights is None and not options.download:
        raise BundleError(f"the weights of '{name}' are not included, but published by timm. {WEIGHTS_ADVICE}")
    network = load_timm(name, options.weights)
    config: dict[str, Any] = cast("Any", network).pretrained_cfg
    published = str(config.get("license") or "see the encoder's page in timm")
    licence = published if options.weights is None else LICENCE_OF_FILE
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
    from napari_melanoma.slides.tile_outputs import ClassProbabilities

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
