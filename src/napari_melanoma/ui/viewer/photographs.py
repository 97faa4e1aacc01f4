"""The photographs among napari's layers: their pixels, scale and identity, and the layers derived from them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.samples.catalog import shorten_credit

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels, Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.io.color_conversion import ValueRange
    from napari_melanoma.io.photographs import Photograph


METADATA_KEY = "napari_melanoma"
FLAT = "Photographs and slides are shown in 2D. Ctrl+Shift+Z redoes what was undone."  # Ctrl+Y is napari's 3D view
# Metadata key of layers that are shown in a substitute unit, see ``layers.LayerUnits``
SUBSTITUTE_UNIT_KEY = "napari_melanoma_units"


def is_photograph(layer: Layer) -> bool:
    """Return whether a layer is a photograph: a two-dimensional RGB image that is not derived from another image."""
    return bool(getattr(layer, "rgb", False)) and layer.ndim == 2 and "role" not in _plugin_metadata(layer)


def filter_photographs(layers: Iterable[Layer]) -> list[Image]:
    """List the photographs among layers, in layer order."""
    return [layer for layer in layers if is_photograph(layer)]


class LayerPhotographSource(NamedTuple):
    """The data of a layer, collected on the GUI thread, from which another thread can read the photograph.

    ``data``: numpy, dask or zarr array (row, column, channel), RGB or RGBA.
    """

    data: Any
    name: str
    pixel_size: PixelSize | None
    modality: str | None
    damage: str | None = None
    notes: tuple[str, ...] = ()
    credit: str = ""

    @classmethod
    def from_layer(cls, image: Image) -> LayerPhotographSource:
        """Collect the data of a layer without copying; for a multiscale layer, those of the largest level."""
        data = image.data[0] if image.multiscale else image.data
        metadata = _plugin_metadata(image)
        stated = metadata.get("damage"), metadata.get("notes", ()), get_credit(image)
        return cls(data, image.name, get_pixel_size(image), get_modality(image), *stated)

    def read(self) -> Photograph:
        """Read the pixels as 8-bit RGB; call this in a thread."""
        values = find_rgb_range(self.data, self.name)
        notes = (*self.notes, values.note) if values.note else self.notes
        return self._replace(notes=notes).describe(read_rgb(self.data, values))

    def read_with_digest(self) -> tuple[Photograph, str]:
        """Read the photograph, and return it with the digest of its pixels."""
        from napari_melanoma.core.provenance import array_fingerprint

        photograph = self.read()
        return photograph, array_fingerprint(photograph.rgb)

    def describe(self, rgb: NDArray[np.uint8]) -> Photograph:
        """Return a photograph with pixels that were already read, uint8 (row, column, channel=3)."""
        from napari_melanoma.io.photographs import Photograph

        modality: Any = self.modality
        return Photograph(rgb, self.name, self.pixel_size, modality, self.damage, self.notes, self.credit)


def find_rgb_range(data: Any, name: str) -> ValueRange:  # noqa: ANN401 - numpy, dask or zarr
    """Find the range of the values of RGB or RGBA by the same rules as for files; ``name``: that of its layer."""
    import numpy as np

    from napari_melanoma.core.errors import InputError, UnreadableImage
    from napari_melanoma.io.color_conversion import find_value_range

    samples = np.asarray(data)
    if samples.size == 0:
        rows, columns = samples.shape[:2]
        raise InputError(f"'{name}' is empty ({rows} x {columns} pixels). Open the photograph again.")
    try:
        return find_value_range(samples, has_alpha=samples.shape[2] == 4)
    except UnreadableImage as error:
        raise InputError(f"'{name}' {error}") from error


def read_rgb(data: Any, values: ValueRange) -> NDArray[np.uint8]:  # noqa: ANN401 - numpy, dask or zarr
    """Convert RGB or RGBA to contiguous uint8 (row, column, channel=3), by the same rules as for files.

    ``values``: the range of the values of the whole image.
    """
    import numpy as np
    from PIL import Image

    from napari_melanoma.io.color_conversion import to_eight_bit, to_srgb8

    samples = np.ascontiguousarray(to_eight_bit(np.asarray(data), values))
    return samples if samples.shape[2] == 3 else to_srgb8(Image.fromarray(samples), None)


def get_pixel_size(layer: Layer) -> PixelSize | None:
    """Return the pixel size from a layer's scale, affine and units; None if the units are pixels: it is unknown."""
    y, x = (_to_micrometers(unit) for unit in get_own_units(layer))
    if y is None or x is None:
        return None
    affine_y, affine_x = _get_affine_scale(layer)
    size = PixelSize(y * affine_y * float(layer.scale[-2]), x * affine_x * float(layer.scale[-1]))
    # The size set by a ruler or stored in the file also has a source, if it is still that of the layer
    stored = (get_ruler_size(layer), get_file_size(layer))
    return next((known for known in stored if known is not None and known.is_close(size)), size)


def _get_affine_scale(layer: Layer) -> tuple[float, float]:
    """Return by how much a layer's affine enlarges its rows and columns; some readers state the scale only there."""
    import numpy as np

    columns = layer.affine.linear_matrix[-2:, -2:] @ layer.rotate[-2:, -2:]
    y, x = np.hypot(*columns)
    return float(y), float(x)


def get_ruler_size(layer: Layer) -> PixelSize | None:
    """Return the pixel size that the user or a case has set; None if there is none."""
    return _plugin_metadata(layer).get("ruler")


def get_file_size(layer: Layer) -> PixelSize | None:
    """Return the pixel size in the file of a photograph; None if it has none."""
    return _plugin_metadata(layer).get("pixel_size")


def get_modality(image: Image) -> str | None:
    """Return the type of a photograph that the user, else its file or case, states; None if it is not stated."""
    metadata = _plugin_metadata(image)
    return metadata.get("stated_modality", metadata.get("modality"))


def get_credit(layer: Layer) -> str:
    """Return the attribution to state where a photograph or slide is shown; empty if none is required."""
    return str(_plugin_metadata(layer).get("credit", ""))


def set_modality(image: Image, modality: str | None) -> None:
    """Store the type of a photograph that the user states."""
    _set_plugin_metadata(image, stated_modality=modality)


def has_stated_modality(image: Image) -> bool:
    """Return whether the user has stated the type of a photograph, also as unknown."""
    return "stated_modality" in _plugin_metadata(image)


def list_cleared(image: Image) -> tuple[str, ...]:
    """Return which of ``pixel_size`` and ``modality`` the user has cleared, unlike those that were never stated."""
    metadata = _plugin_metadata(image)
    stated = {"pixel_size": ("ruler", get_pixel_size(image)), "modality": ("stated_modality", get_modality(image))}
    return tuple(name for name, (key, value) in stated.items() if key in metadata and value is None)


def get_own_units(layer: Layer) -> tuple[Any, Any]:
    """Return the units of a layer along rows and columns, which may differ from the substitute that napari shows."""
    y, x = layer.metadata[SUBSTITUTE_UNIT_KEY]["own"] if SUBSTITUTE_UNIT_KEY in layer.metadata else layer.units[-2:]
    return y, x


def get_pixel_aspect(layer: Layer) -> float:
    """Return the height of a layer's pixels divided by their width, which may be known without the pixel size."""
    size = get_pixel_size(layer)
    if size is not None:
        return size.y_um / size.x_um
    affine_y, affine_x = _get_affine_scale(layer)
    return float(layer.scale[-2] / layer.scale[-1]) * affine_y / affine_x


def _plugin_metadata(layer: Layer) -> dict[str, Any]:
    return layer.metadata.get(METADATA_KEY, {})


def _set_plugin_metadata(layer: Layer, **values: object) -> None:
    layer.metadata = {**layer.metadata, METADATA_KEY: {**_plugin_metadata(layer), **values}}


def _to_micrometers(unit: Any) -> float | None:  # noqa: ANN401 - a unit of pint, which napari depends on
    """Return a unit in micrometers; None if it is not a length."""
    if not unit.dimensionality or not unit.is_compatible_with("micrometer"):
        return None
    return float((1 * unit).to("micrometer").magnitude)


def format_pixel_size(size: PixelSize) -> str:
    """Format a pixel size with its unit, such as ``12.4 µm``, as in the report of a photograph."""
    return f"{format_scale(size.y_um, size.x_um, 3)} µm"


def list_facts(image: Image) -> list[str]:
    """List facts on a photograph: damage, size, scale such as ``12.4 µm/px``, notes on its file, attribution."""
    rows, columns = get_shape(image)
    size = get_pixel_size(image)
    metadata = _plugin_metadata(image)
    damage = f"DAMAGED: {metadata['damage']}" if metadata.get("damage") else ""
    notes = (f"{note[:1].upper()}{note[1:]}" for note in metadata.get("notes", ()))
    scale = f"{format_pixel_size(size)}/px" if size else "no scale"
    facts = damage, f"{columns} x {rows} px", scale, *notes, shorten_credit(get_credit(image))
    return [fact for fact in facts if fact]


# The kinds of layers derived from a photograph
Role = Literal[
    "probability",
    "heatmap",
    "band",
    "mask",
    "ROI",
    "other lesions",
    "published mask",
    "contour",
    "proposals",
    "scribbles",
    "clicks",
    "numbers",
    "proposed scale",
    "ruler",
]
ORDER: tuple[Role, ...] = get_args(Role)  # from bottom to top


# Role of a photograph that was added in advance, and is not open yet
STANDBY = "standby"


def set_standby(layer: Layer, is_standby: bool) -> None:
    """Mark a photograph as added in advance, or as one of the photographs of the viewer."""
    metadata = {key: value for key, value in _plugin_metadata(layer).items() if key != "role"}
    layer.metadata = {**layer.metadata, METADATA_KEY: metadata | ({"role": STANDBY} if is_standby else {})}


def identify_photographs(viewer: Viewer) -> list[Image]:
    """List the photographs of a viewer in layer order, and give each a unique identity in its metadata.

    A duplicated layer gets a new identity.
    """
    seen: set[str] = set()
    images = filter_photographs(viewer.layers)
    for image in images:
        if get_identity(image) in (None, *seen):
            _set_plugin_metadata(image, photograph=uuid.uuid4().hex)
        seen.add(str(get_identity(image)))
    return images


def find_photograph(viewer: Viewer, identity: str | None) -> Image | None:
    """Find the photograph with an identity; None if it was removed."""
    return next((image for image in identify_photographs(viewer) if get_identity(image) == identity), None)


def find_file(viewer: Viewer, path: Path) -> Image | None:
    """Find the photograph that was read from a file; None if it is not open."""
    return next((image for image in identify_photographs(viewer) if get_path(image) == path.absolute()), None)


def get_path(layer: Layer | None) -> Path | None:
    """Return the file that a photograph or slide was read from; None for other layers."""
    path = None if layer is None else _plugin_metadata(layer).get("path")
    return None if path is None else Path(path)


def get_shape(image: Image) -> tuple[int, int]:
    """Return the number of rows and columns of a photograph, at full resolution if it is multiscale."""
    rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
    return rows, columns


def get_identity(layer: Layer) -> str | None:
    """Return the identity of the photograph that a layer is or was derived from; None for other layers."""
    return _plugin_metadata(layer).get("photograph")


def get_role(layer: Layer) -> str | None:
    """Return the role of a layer derived from a photograph; None for the photograph itself and for other layers."""
    return _plugin_metadata(layer).get("role")


def find_layer(viewer: Viewer, image: Image, role: Role) -> Any:  # noqa: ANN401 - the kind of layer goes with the role
    """Find the layer of a role that was derived from a photograph; None if there is none."""
    return next((layer for layer in find_layers(viewer, image) if get_role(layer) == role), None)


def find_layers(viewer: Viewer, image: Image) -> list[Layer]:
    """List a photograph and the layers derived from it, in layer order."""
    identity = get_identity(image)
    return [layer for layer in viewer.layers if identity is not None and get_identity(layer) == identity]


def list_foreign_labels(viewer: Viewer) -> list[Labels]:
    """List the Labels layers of the user and of other plugins, in layer order."""
    from napari.layers import Labels

    return [layer for layer in viewer.layers if isinstance(layer, Labels) and METADATA_KEY not in layer.metadata]


def get_model_digest(layer: Layer) -> str | None:
    """Return the digest of the predicted mask that ``set_model_digest`` has stored; None if there is none.

    A mask with another digest was edited after the prediction.
    """
    return _plugin_metadata(layer).get("made")


def set_model_digest(layer: Layer, digest: str) -> None:
    """Store the digest of the predicted mask in the mask layer's metadata."""
    _set_plugin_metadata(layer, made=digest)


def show_flat(viewer: Viewer) -> None:
    """Leave the 3D view, in which napari cannot change flat shapes."""
    if viewer.dims.ndisplay == 3:
        from napari.utils import notifications

        viewer.dims.ndisplay = 2
        notifications.show_info(FLAT)


def insert_unselected(viewer: Viewer, index: int, layer: Layer) -> None:
    """Insert a layer without changing the selection."""
    selection = viewer.layers.selection
    selected = set(selection)
    # napari selects the inserted layer, which would deactivate the brush and draw the layer controls three times
    with selection.events.active.blocker(), selection.events.changed.blocker():
        viewer.layers.insert(index, layer)
        selection.update(selected)
        selection.discard(layer)


def insert_layer(viewer: Viewer, image: Image, role: Role, layer: Layer) -> None:
    """Insert a layer above its photograph, with its name and position; the selection does not change."""
    layer.name = f"{image.name} {role}"
    layer.metadata = {METADATA_KEY: {"photograph": get_identity(image), "role": role}}
    _align(layer, image)
    layer.visible = layer.visible and image.visible
    below = ORDER[: ORDER.index(role)]
    top = max(
        index
        for index, other in enumerate(viewer.layers)
        if other == image or (get_identity(other) == get_identity(image) and get_role(other) in below)
    )
    insert_unselected(viewer, top + 1, layer)


def _align(layer: Layer, image: Image) -> None:
    """Give a layer the transform of a photograph, so that the same pixels lie at the same position."""
    layer.scale, layer.rotate, layer.shear, layer.translate = image.scale, image.rotate, image.shear, image.translate
    layer.affine, layer.units = image.affine, image.units


def rename_layers(viewer: Viewer, image: Image) -> None:
    """Update the names of the layers derived from a photograph that was renamed."""
    for layer in find_layers(viewer, image):
        role = get_role(layer)
        if role is not None:
            layer.name = f"{image.name} {role}"


def update_scale(viewer: Viewer, image: Image) -> None:
    """Give the layers derived from a photograph its scale."""
    for layer in find_layers(viewer, image):
        if layer != image and (tuple(layer.scale) != tuple(image.scale) or layer.units != image.units):
            _align(layer, image)


def set_pixel_size(viewer: Viewer, image: Image, size: PixelSize | None, *, is_cleared: bool = True) -> None:
    """Set the scale of a photograph and of all layers derived from it; the visible region stays the same.

    ``size``: None restores the scale stored in the file, or pixels. ``is_cleared``: whether None was stated by the
    user, rather than no scale at all.
    """
    metadata = {key: value for key, value in _plugin_metadata(image).items() if key != "ruler"}
    stated = {"ruler": size} if size is not None or is_cleared else {}
    image.metadata = {**image.metadata, METADATA_KEY: metadata | stated}
    size = size or get_file_size(image)
    scale, unit = ((1.0, 1.0), "pixel") if size is None else ((size.y_um, size.x_um), "um")
    if size is not None:
        affine_y, affine_x = _get_affine_scale(image)
        scale = scale[0] / affine_y, scale[1] / affine_x
    y_factor, x_factor = (new / float(old) for new, old in zip(scale, image.scale[-2:], strict=True))
    translate = (y_factor * float(image.translate[-2]), x_factor * float(image.translate[-1]))
    camera = getattr(viewer, "scene", viewer).camera  # as in camera.get_camera, which must not be imported here
    center, zoom = camera.center, camera.zoom
    image.metadata = {key: value for key, value in image.metadata.items() if key != SUBSTITUTE_UNIT_KEY}
    for layer in find_layers(viewer, image):
        layer.translate = translate
        layer.scale, layer.units = scale, (unit, unit)
    camera.center = (*center[:-2], y_factor * center[-2], x_factor * center[-1])
    camera.zoom = zoom / math.sqrt(y_factor * x_factor)


SHOWN_WITH_PHOTOGRAPH = (
    *("band", "mask", "contour", "proposals", "other lesions", "ROI", "clicks", "numbers", "proposed scale"),
)


def show_only(viewer: Viewer, image: Image) -> None:
    """Show one photograph with its layers, and hide the other photographs, which lie at the same position."""
    _set_visible(image, True)
    for other in identify_photographs(viewer):
        if other != image:
            for layer in find_layers(viewer, other):
                _set_visible(layer, False)
    for layer in find_layers(viewer, image):
        if get_role(layer) in SHOWN_WITH_PHOTOGRAPH:
            _set_visible(layer, True)


def _set_visible(layer: Layer, visible: bool) -> None:
    if layer.visible != visible:  # otherwise napari arranges all layers again, which takes 5 to 15 ms each time
        layer.visible = visible


def explain_no_photograph(viewer: Viewer) -> str:
    """Explain why the open images are not photographs; empty if there is nothing to explain."""
    other_images = [
        layer
        for layer in viewer.layers
        if hasattr(layer, "rgb") and get_identity(layer) is None and get_role(layer) is None
    ]
    if filter_photographs(viewer.layers) or not other_images:
        return ""
    return f"'{other_images[-1].name}' is not a color photograph: it has one channel or more than two dimensions."
