"""Which layers belong to a photograph, and how they keep its name, place and scale."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.ui.viewer.photographs import METADATA_KEY, STAND_IN_KEY, filter_photographs

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_melanoma.core.geometry import PixelSize

Role = Literal["probability", "heatmap", "band", "mask", "contour", "other lesions", "ROI", "scribbles", "ruler"]
ORDER: tuple[Role, ...] = (
    "probability",
    "heatmap",
    "band",
    "mask",
    "ROI",
    "other lesions",
    "contour",
    "scribbles",
    "ruler",
)


def identify_photographs(viewer: Viewer) -> list[Image]:
    """List the photographs of a viewer, each with an identity of its own in its metadata.

    In the order of the layer list; a duplicated layer gets a new identity.
    """
    seen: set[str] = set()
    found = filter_photographs(viewer.layers)
    for image in found:
        if get_identity(image) in (None, *seen):
            image.metadata = {
                **image.metadata,
                METADATA_KEY: {**image.metadata.get(METADATA_KEY, {}), "photograph": uuid.uuid4().hex},
            }
        seen.add(str(get_identity(image)))
    return found


def get_identity(layer: Layer) -> str | None:
    """Give the identity of the photograph that a layer is or was made from.

    None where the layer has nothing to do with a photograph.
    """
    return layer.metadata.get(METADATA_KEY, {}).get("photograph")


def get_role(layer: Layer) -> str | None:
    """Say what a layer is to its photograph.

    None for the photograph itself, and for layers that have nothing to do with one.
    """
    return layer.metadata.get(METADATA_KEY, {}).get("role")


def find_layer(viewer: Viewer, image: Image, role: Role) -> Any:  # noqa: ANN401 - the kind of layer goes with the role
    """Find the layer of one role that was made from a photograph.

    None where it was not made yet, or was removed.
    """
    return next(
        (layer for layer in find_layers(viewer, image) if layer.metadata[METADATA_KEY].get("role") == role), None
    )


def find_layers(viewer: Viewer, image: Image) -> list[Layer]:
    """List a photograph and the layers made from it.

    In the order of the layer list.
    """
    return [
        layer
        for layer in viewer.layers
        if get_identity(layer) is not None and get_identity(layer) == get_identity(image)
    ]


def get_model_digest(layer: Layer) -> str | None:
    """Say which mask the model gave, so that one that was drawn is known as such by a later dock.

    Its fingerprint, as ``set_made`` left it.
    """
    return layer.metadata.get(METADATA_KEY, {}).get("made")


def set_model_digest(layer: Layer, digest: str) -> None:
    """Remember with a mask layer which mask the model gave."""
    layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata.get(METADATA_KEY, {}), "made": digest}}


def insert_layer(viewer: Viewer, image: Image, role: Role, layer: Layer) -> None:
    """Put a layer above its photograph, with its name, place and scale; what is selected stays selected."""
    layer.name = f"{image.name} {role}"
    layer.metadata = {METADATA_KEY: {"photograph": get_identity(image), "role": role}}
    layer.scale, layer.translate, layer.units = image.scale, image.translate, image.units
    layer.visible = layer.visible and image.visible
    below = ORDER[: ORDER.index(role)]
    top = max(
        index
        for index, other in enumerate(viewer.layers)
        if other == image
        or (get_identity(other) == get_identity(image) and other.metadata[METADATA_KEY].get("role") in below)
    )
    selection = viewer.layers.selection
    selected = set(selection)
    # napari selects what it inserts: that would take the brush out of the hand, and draw all its controls three times.
    with selection.events.active.blocker(), selection.events.changed.blocker():
        viewer.layers.insert(top + 1, layer)
        selection.update(selected)
        selection.discard(layer)


def rename_layers(viewer: Viewer, image: Image) -> None:
    """Let the layers of a photograph follow its name."""
    for layer in find_layers(viewer, image):
        role = layer.metadata[METADATA_KEY].get("role")
        if role is not None:
            layer.name = f"{image.name} {role}"


def update_scale(viewer: Viewer, image: Image) -> None:
    """Let the layers of a photograph follow its scale, however that was changed."""
    for layer in find_layers(viewer, image):
        if layer != image and (tuple(layer.scale) != tuple(image.scale) or layer.units != image.units):
            layer.translate, layer.scale, layer.units = image.translate, image.scale, image.units


def set_pixel_size(viewer: Viewer, image: Image, size: PixelSize | None) -> None:
    """Give a photograph and all layers made from it a scale, and keep what is in view in view.

    ``size``: none goes back to what its file said, or to pixels.
    """
    about = {key: value for key, value in image.metadata.get(METADATA_KEY, {}).items() if key != "ruler"}
    image.metadata = {**image.metadata, METADATA_KEY: about if size is None else {**about, "ruler": size}}
    size = size or about.get("pixel_size")
    scale, unit = ((1.0, 1.0), "pixel") if size is None else ((size.y_um, size.x_um), "um")
    y, x = (new / float(old) for new, old in zip(scale, image.scale[-2:], strict=True))
    translate = (y * float(image.translate[-2]), x * float(image.translate[-1]))
    camera = getattr(viewer, "scene", viewer).camera  # where it is since napari 0.9
    center, zoom = camera.center, camera.zoom
    image.metadata = {key: value for key, value in image.metadata.items() if key != STAND_IN_KEY}
    for layer in find_layers(viewer, image):
        layer.translate = translate
        layer.scale, layer.units = scale, (unit, unit)
    camera.center = (*center[:-2], y * center[-2], x * center[-1])
    camera.zoom = zoom / math.sqrt(y * x)


def show_only(viewer: Viewer, image: Image) -> None:
    """Show one photograph with its layers and hide the others, which lie in the same place."""
    image.visible = True
    for other in identify_photographs(viewer):
        if other != image:
            for layer in find_layers(viewer, other):
                layer.visible = False
    for layer in find_layers(viewer, image):
        if layer.metadata[METADATA_KEY].get("role") in ("band", "mask", "contour", "other lesions", "ROI"):
            layer.visible = True


def explain_no_photograph(viewer: Viewer) -> str:
    """Say why the images that are open are no photographs.

    Empty where there is nothing to explain.
    """
    others = [
        one for one in viewer.layers if hasattr(one, "rgb") and get_identity(one) is None and get_role(one) is None
    ]
    if filter_photographs(viewer.layers) or not others:
        return ""
    return f"'{others[-1].name}' is no colour photograph: it has one channel or more than two dimensions."
