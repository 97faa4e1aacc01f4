"""Find photographs among layers, and read their pixels as 8-bit RGB and their pixel size."""

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
STAND_IN_KEY = "napari_melanoma_units"  # metadata key of layers shown in a substitute unit, see ui.viewer.layers


def is_photograph(layer: Layer) -> bool:
    """Return whether a layer is a photograph: a two-dimensional RGB image that this plugin did not derive."""
    return bool(getattr(layer, "rgb", False)) and layer.ndim == 2 and "role" not in _plugin_metadata(layer)


def filter_photographs(layers: Iterable[Layer]) -> list[Image]:
    """List the photographs among layers, in layer order."""
    return [layer for layer in layers if is_photograph(layer)]


@dataclass(frozen=True)
class LayerPhotographSource:
    """The data for reading a photograph from a layer in another thread, collected on the GUI thread."""

    data: Any
    name: str
    pixel_size: PixelSize | None
    modality: str | None
    damage: str | None = None

    @classmethod
    def from_layer(cls, image: Image) -> LayerPhotographSource:
        """Collect the data from a layer without copying; of a multiscale layer, the largest level."""
        data = image.data[0] if image.multiscale else image.data
        about = _plugin_metadata(image)
        return cls(data, image.name, get_pixel_size(image), about.get("modality"), about.get("damage"))

    def read(self) -> Photograph:
        """Read the pixels as 8-bit RGB; call this in a thread."""
        from napari_melanoma.io.photographs import Photograph

        rgb = _read_rgb(self.data, self.name)
        return Photograph(rgb, self.name, self.pixel_size, self.modality, self.damage)  # type: ignore[arg-type]


def _read_rgb(data: Any, name: str) -> NDArray[np.uint8]:  # noqa: ANN401 - numpy, dask or zarr
    """Convert RGB or RGBA to contiguous uint8 (row, column, channel=3), by the same rules as for files."""
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
    """Return the pixel size from a layer's scale and units; None if the units are pixels (unknown)."""
    y, x = (_to_micrometers(unit) for unit in get_own_units(layer))
    if y is None or x is None:
        return None
    size = PixelSize(y * float(layer.scale[-2]), x * float(layer.scale[-1]))
    known = (_plugin_metadata(layer).get("ruler"), _plugin_metadata(layer).get("pixel_size"))
    return next((stated for stated in known if stated is not None and stated.is_close(size)), size)


def get_own_units(layer: Layer) -> tuple[Any, Any]:
    """Return the actual units of a layer, which can differ from the units that napari shows."""
    y, x = layer.metadata[STAND_IN_KEY]["own"] if STAND_IN_KEY in layer.metadata else layer.units[-2:]
    return y, x


def get_pixel_aspect(layer: Layer) -> float:
    """Return the height of a layer's pixels over their width, also if only the ratio is known."""
    size = get_pixel_size(layer)
    return float(layer.scale[-2] / layer.scale[-1]) if size is None else size.y_um / size.x_um


def _plugin_metadata(layer: Layer) -> dict[str, Any]:
    """The metadata that this plugin stores in a layer."""
    return layer.metadata.get(METADATA_KEY, {})


def _to_micrometers(unit: Any) -> float | None:  # noqa: ANN401 - a unit of pint, which napari depends on
    """A unit in micrometers; None if it is not a length."""
    if not unit.dimensionality or not unit.is_compatible_with("micrometer"):
        return None
    return float((1 * unit).to("micrometer").magnitude)


def format_pixel_size(size: PixelSize) -> str:
    """Format a pixel size: ``12.4 µm``, or ``100 x 50 µm`` (height first) if pixels are not square."""
    y, x = f"{size.y_um:.3g}", f"{size.x_um:.3g}"
    return f"{x} µm" if x == y else f"{y} x {x} µm"


def describe_photograph(image: Image) -> str:
    """Describe the size, scale and modality of a photograph in one line.

    For example ``3000 x 2000 px, 12.4 µm/px, dermoscopic``.
    """
    rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
    size = get_pixel_size(image)
    scale = f"{format_pixel_size(size)}/px" if size else "scale unknown"
    about = _plugin_metadata(image)
    damage = f"DAMAGED: {about['damage']}" if about.get("damage") else None
    return ", ".join(part for part in (f"{columns} x {rows} px", scale, about.get("modality"), damage) if part)
