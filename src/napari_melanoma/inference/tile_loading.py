"""From a name to a model of tiles: a bundle, any encoder of timm, or a published one of histology, opt-in."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari_melanoma.analysis.lesion_classes import tissue_looked_for
from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.tiles import TileModel, TileModelInfo
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.foundation import (
    FOUNDATION_ENCODERS,
    WEIGHTS_FILE,
    FoundationEncoder,
    fit_weights,
    load_foundation,
    read_weights,
)
from napari_melanoma.models.precision import best_device
from napari_melanoma.models.reference import REFERENCE
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.models.zoo import encoder_of

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.models.precision import Precision

TIMM, ENCODER = "timm:", "encoder:"
TIMM_MPP = 0.5
log = logging.getLogger(__name__)


class Loading:
    """How a model is to be loaded."""

    def __init__(
        self,
        weights: Path | None = None,
        download: bool = False,
        device: str | None = None,
        batch_size: int = 32,
        precision: Precision | None = None,
    ) -> None:
        self.weights, self.download, self.device = weights, download, device
        self.batch_size, self.precision = batch_size, precision


def load_tile_model(name: str, how: Loading) -> TileModel:
    """Load a model of tiles."""
    info, network = _found(name, how)
    return TileModel(info, network, how.device or best_device(), how.batch_size, how.precision)


def _found(name: str, how: Loading) -> tuple[TileModelInfo, nn.Module]:
    """What a name stands for, and its network in float32 on the processor."""
    if name in FOUNDATION_ENCODERS:
        return _foundation(FOUNDATION_ENCODERS[name], how)
    if name.startswith(TIMM):
        return _timm(name, how)
    if name.startswith(ENCODER):
        return _encoder(find_bundle(name.removeprefix(ENCODER), of_slides=True))
    try:
        return _of_bundle(find_bundle(name, of_slides=True))
    except BundleError as error:
        if Path(name).exists() or "there is no model named" not in str(error):
            raise
        encoders = ", ".join(FOUNDATION_ENCODERS)
        raise BundleError(f"{error} Encoders of tiles: {encoders}, timm:NAME, or encoder:BUNDLE.") from None


def _foundation(encoder: FoundationEncoder, how: Loading) -> tuple[TileModelInfo, nn.Module]:
    """A published encoder, from a local file or, where that is allowed, from the hub."""
    weights = how.weights or _downloaded(encoder, how)
    info = TileModelInfo(
        encoder.name,
        "embedding",
        (),
        encoder.side_px,
        encoder.mpp,
        encoder.mean,
        encoder.std,
        encoder.licence,
        fingerprint_of(weights),
        terms=f"{encoder.licence}. {encoder.page}",
    )
    return info, load_foundation(encoder, weights)


def _downloaded(encoder: FoundationEncoder, how: Loading) -> Path:
    """Fetch an encoder's weights; nothing is fetched unasked."""
    if not how.download:
        raise BundleError(
            f"the weights of '{encoder.name}' are not part of this program ({encoder.licence}). Get {WEIGHTS_FILE} "
            f"from {encoder.page} and name it with --weights FILE, or let them be fetched with --download."
        )
    from huggingface_hub import hf_hub_download

    log.info("fetching the weights of '%s' from %s", encoder.name, encoder.page)
    try:
        return Path(hf_hub_download(encoder.hub, WEIGHTS_FILE))
    except Exception as error:  # the hub has many errors for one thing: it did not give the file
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"{encoder.page} did not give the weights of '{encoder.name}': {said}. Accept its licence there, log in "
            "with 'hf auth login', or get the file by hand and name it with --weights FILE."
        ) from error


def _timm(name: str, how: Loading) -> tuple[TileModelInfo, nn.Module]:
    """Any network of timm as an encoder."""
    import timm

    bare = name.removeprefix(TIMM)
    if not timm.is_model(bare):
        raise BundleError(f"timm has no encoder named '{bare}'. Its documentation lists their names.")
    if how.weights is None and not how.download:
        raise BundleError(
            f"the weights of '{name}' are not part of this program. Name a file of them with --weights FILE, or let "
            "them be fetched from where timm publishes them with --download."
        )
    network = timm.create_model(bare, pretrained=how.weights is None, num_classes=0)
    given: dict[str, Any] = cast("Any", network).pretrained_cfg
    licence = str(given.get("license") or "see the encoder's page in timm")
    if how.weights is not None:
        own, found = network.state_dict(), read_weights(how.weights)
        fit_weights(network, {name: value for name, value in found.items() if name in own}, how.weights)
        licence = "of the file given"
    fingerprint = fingerprint_of(how.weights) if how.weights else _loaded(network)
    side = int(given["input_size"][-1])
    info = TileModelInfo(
        name,
        "embedding",
        (),
        side,
        TIMM_MPP,
        tuple(given["mean"]),
        tuple(given["std"]),
        licence,
        fingerprint,
        terms=licence,
    )
    return info, network.eval()


def _encoder(bundle: BundleInfo) -> tuple[TileModelInfo, nn.Module]:
    """The encoder of a bundle for slides: its deepest maps, the mean of each over the tile."""
    from napari_melanoma.inference import tile_answers

    info, _ = _of_bundle(bundle)
    encoder = encoder_of(load_network(bundle))
    if encoder is None:
        raise BundleError(
            f"the network of '{bundle.name}' ({bundle.config.architecture}) has no encoder. Name another."
        )
    kept = replace(info, name=f"{ENCODER}{bundle.name}", kind="embedding", classes=(), positive="", bundle="")
    kept = replace(kept, answers=bundle.answering(calibrated=False))
    return kept, tile_answers.Embeddings(encoder)


def _of_bundle(bundle: BundleInfo) -> tuple[TileModelInfo, nn.Module]:
    """A bundle for slides, with what turns its logits into probabilities."""
    from napari_melanoma.inference import tile_answers

    config = bundle.config
    if config.tile is None:
        raise BundleError(
            f"'{bundle.name}' is a model for photographs: it does not say at which scale it would look at a slide. "
            "Name a model of slides, see: napari-melanoma models list."
        )
    if config.encoder is not None:
        raise BundleError(f"'{bundle.name}' answers whole slides from embeddings of '{config.encoder.name}', no tiles.")
    if config.preprocessing.is_on:
        raise BundleError(f"'{bundle.name}' wants its pictures changed ({config.preprocessing.words}): not for slides.")
    if config.tabular is not None and config.tabular.columns:
        raise BundleError(f"'{bundle.name}' asks for a patient's data beside the picture: a tile of a slide has none.")
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
        synthetic_share=config.drawn_share,
        calibrated=None if config.classifier is None else (bundle.path / REFERENCE).is_file(),
        answers=bundle.answering(),
    )
    network = load_network(bundle)
    if config.classifier is None:
        return replace(info, positive=tissue_looked_for(config.classes)), tile_answers.Maps(
            network, len(config.classes)
        )
    classifier = config.classifier
    point = classifier.operating_point
    answers = tile_answers.Classes(cast("Any", network), classifier)
    return replace(info, positive=classifier.positive, threshold=point.cut if point else 0.5), answers


def _loaded(network: nn.Module) -> str:
    """SHA-256 of weights as they were loaded: under one name others may be published another day."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint_of(weights: Path) -> str:
    """SHA-256 of a weights file."""
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"cannot read weights from {weights}: {error.strerror}. Name an existing file.") from error
