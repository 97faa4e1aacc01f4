"""A model of slides by its name: one that answers tiles, or an encoder with what makes one answer of its embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.bags import BagModel
from napari_melanoma.inference.tile_loading import Loading, load_tile_model
from napari_melanoma.models.registry import find_bundle

if TYPE_CHECKING:
    from napari_melanoma.inference.tiles import TileModel
    from napari_melanoma.models.bundle import BundleInfo


def load_slide_model(name: str, how: Loading) -> TileModel:
    """Load a model of slides.

    Of a bundle of whole slides its encoder, with what makes one answer as ``bags``.
    """
    bundle = _of_bags(name)
    if bundle is None:
        return load_tile_model(name, how)
    encoder, tile = bundle.config.encoder, bundle.config.tile
    assert encoder is not None
    assert tile is not None
    try:
        model = load_tile_model(encoder.name, how)
    except BundleError as error:
        raise BundleError(f"'{bundle.name}' stands on the encoder '{encoder.name}': {error}") from error
    if model.info.fingerprint != encoder.fingerprint or model.info.side_px != tile.side_px:
        raise BundleError(
            f"'{bundle.name}' learnt from embeddings of '{encoder.name}' with the weights {encoder.fingerprint[:12]} "
            f"and tiles of {tile.side_px} pixels, found the weights {model.info.fingerprint[:12]} and "
            f"{model.info.side_px} pixels. Name the file that its training slides were analysed with: --weights FILE."
        )
    model.info = replace(model.info, mpp=tile.mpp)
    model.bags = BagModel.load(bundle, model.device)
    return model


def _of_bags(name: str) -> BundleInfo | None:
    """The bundle of whole slides of that name; None where it is something else, or nothing."""
    try:
        bundle = find_bundle(name)
    except BundleError:  # an encoder, or nothing, of which loading tells
        return None
    return bundle if bundle.config.encoder is not None else None
