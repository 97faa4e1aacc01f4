"""Which layers are photographs, and what is in one: pixels as 8-bit RGB, with the scale that the layer carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.geometry import PixelSize

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph

METADATA_KEY = "napari_melanoma"
STAND_IN_KEY = "napari_melanoma_units"  # in the metadata of a layer whose unit is not its own, as ui.layer_units says


def is_photograph(layer: Layer) -> bool:
    """Say whether a layer is a photograph: an RGB image of two dimensions.

    True for RGB images that this plugin did not make itself.
    """
    return bool(getattr(layer, "rgb", False)) and layer.ndim == 2 and "role" not in _plugin_metadata(layer)


def filter_photographs(layers: Iterable[Layer]) -> list[Image]:
    """List the photographs among layers.

    In the order of the layers.
    """
    return [layer for layer in layers if is_photograph(layer)]


@dataclass(frozen=True)
class LayerPhotographSource:
    """What is needed to read a photograph from a layer in another thread, taken on the GUI thread."""

    data: Any
    name: str
    pixel_size: PixelSize | None
    modality: str | None
    damage: str | None = None

    @classmethod
    def from_layer(cls, image: Image) -> LayerPhotographSource:
        """Take what is needed from a layer; copies nothing.

        With the largest level where the layer has several.
        """
        data = image.data[0] if image.multiscale else image.data
        about = _plugin_metadata(image)
        return cls(data, image.name, get_pixel_size(image), about.get("modality"), about.get("damage"))

    def read(self) -> Photograph:
        """Read the pixels; meant for a thread.

        8-bit RGB.
        """
        from napari_melanoma.io.photographs import Photograph

        rgb = _read_rgb(self.data, self.name)
        return Photograph(rgb, self.name, self.pixel_size, self.modality, self.damage)  # type: ignore[arg-type]


def _read_rgb(data: Any, name: str) -> NDArray[np.uint8]:  # noqa: ANN401 - numpy, dask or zarr
    """Give RGB or RGBA as contiguous uint8 (row, column, channel=3), by the rules that files are read with."""
    import numpy as np
    from PIL import Image

    from napari_melanoma.core.errors import InputError, UnreadableImage
    from napari_melanoma.io.color import to_eight_bit, to_srgb8

    samples = np.asarray(data)
    if samples.size == 0:
        rows, columns = samples.shape[:2]
        raise InputError(f"'{name}' is empty ({rows} x {columns} pixels). Open the photograph again.")
    try:
        samples = np.ascontiguousarray(to_eight_bit(samples))
    except UnreadableImage as error:
        raise InputError(f"'{name}' {error}") from error
    return samples if samples.shape[2] == 3 else to_srgb8(Image.fromarray(samples), None)


def get_pixel_size(layer: Layer) -> PixelSize | None:
    """Read the pixel size from a layer's scale and units.

    None where the units are pixels, which is how napari says that nobody knows.
    """
    y, x = (_to_micrometers(unit) for unit in get_own_units(layer))
    if y is None or x is None:
        return None
    size = PixelSize(y * float(layer.scale[-2]), x * float(layer.scale[-1]))
    known = (_plugin_metadata(layer).get("ruler"), _plugin_metadata(layer).get("pixel_size"))
    return next((stated for stated in known if stated is not None and stated.agrees(size)), size)


def get_own_units(layer: Layer) -> tuple[Any, Any]:
    """Give the units by which a layer is measured, which need not be those that napari shows."""
    y, x = layer.metadata[STAND_IN_KEY]["own"] if STAND_IN_KEY in layer.metadata else layer.units[-2:]
    return y, x


def get_pixel_aspect(layer: Layer) -> float:
    """Give the height of a layer's pixels over their width.

    1 for square pixels; also where only the ratio is known, not the size.
    """
    size = get_pixel_size(layer)
    return float(layer.scale[-2] / layer.scale[-1]) if size is None else size.y_um / size.x_um


def _plugin_metadata(layer: Layer) -> dict[str, Any]:
    """What this plugin keeps in a layer's metadata."""
    return layer.metadata.get(METADATA_KEY, {})


def _to_micrometers(unit: Any) -> float | None:  # noqa: ANN401 - a unit of pint, which napari depends on
    """How many micrometres a unit is, or None where it is no length."""
    if not unit.dimensionality or not unit.is_compatible_with("micrometer"):
        return None
    return float((1 * unit).to("micrometer").magnitude)


def format_pixel_size(size: PixelSize) -> str:
    """Say how large a pixel is.

    Such as ``12.4 µm``, or ``100 x 50 µm``, height first, where pixels are not square.
    """
    y, x = f"{size.y_um:.3g}", f"{size.x_um:.3g}"
    return f"{x} µm" if x == y else f"{y} x {x} µm"


def describe_photograph(image: Image) -> str:
    """Say in one line what a photograph is: its size, scale and kind.

    Such as ``3000 x 2000 px, 12.4 um/px, dermoscopic``.
    """
    rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
    size = get_pixel_size(image)
    scale = f"{format_pixel_size(size)}/px" if size else "scale unknown"
    about = _plugin_metadata(image)
    damage = f"DAMAGED: {about['damage']}" if about.get("damage") else None
    return ", ".join(part for part in (f"{columns} x {rows} px", scale, about.get("modality"), damage) if part)
