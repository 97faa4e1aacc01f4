"""Sample data for File > Open Sample: real photographs, a case and a skin slide, and one phantom at the end."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]  # data, keywords and type of a layer, as napari expects them


def melanoma_sample() -> list[LayerData]:
    """A melanoma under a dermoscope, with a ruler.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers by the ruler.
    """
    from napari_melanoma.samples.catalog import MELANOMA

    return _read_sample(MELANOMA)


def nevus_sample() -> list[LayerData]:
    """A nevus under a dermoscope, with hair and a ruler.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers by the ruler.
    """
    from napari_melanoma.samples.catalog import NEVUS

    return _read_sample(NEVUS)


def keratosis_sample() -> list[LayerData]:
    """A seborrheic keratosis under a dermoscope, with a ruler.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers by the ruler.
    """
    from napari_melanoma.samples.catalog import KERATOSIS

    return _read_sample(KERATOSIS)


def case_sample() -> list[LayerData]:
    """A melanoma and a nevus of one patient, as a case in the Case dock, which is opened if necessary.

    One RGB image layer, uint8 (row, column, channel), in pixels: the melanoma, in a folder of the user's own data.
    """
    import napari

    from napari_melanoma.samples.catalog import CASE_FOLDER, CASE_IMAGE, copy_case
    from napari_melanoma.ui.readers import read_layers
    from napari_melanoma.ui.viewer.docking import show_dock
    from napari_melanoma.ui.widgets.settings import get_user_folder

    path = get_user_folder("samples") / CASE_FOLDER / CASE_IMAGE
    if not path.is_file():
        copy_case(path.parent)
    viewer = napari.current_viewer()
    if viewer is not None:
        dock: Any = show_dock(viewer, "Case")
        dock.importer.open_sample()
    return read_layers(str(path))


def slide_sample() -> list[LayerData]:
    """A region of a skin slide, stained with H&E: epidermis with granular and horny layer, two hair follicles, dermis.

    One multiscale RGB image layer in micrometers.
    """
    from napari_melanoma.samples.catalog import SLIDE

    return _read_sample(SLIDE)


def phantom_sample() -> list[LayerData]:
    """A synthetic lesion under a dermoscope, with hairs, a ruler and gel bubbles.

    One RGB image layer, uint8 (row, column, channel), of 900 x 1200 pixels, scaled in micrometers.
    """
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    name = "dermoscopic phantom"
    values = {"size": (900, 1200), "seed": 1, "skin_type": 2, "artefacts": {"hairs": 8, "ruler": True}}
    config = LesionPhantomConfig.parse(values, name)
    phantom = lesion_phantom(config)
    size = phantom.pixel_size
    attributes = {
        "name": name,
        "rgb": True,
        "scale": (size.y_um, size.x_um),
        "units": ("um", "um"),
        "metadata": {"napari_melanoma": {"modality": config.modality, "pixel_size": size}},
    }
    return [(phantom.rgb, attributes, "image")]


def _read_sample(name: str) -> list[LayerData]:
    """Read a photograph or slide of the package; raises ``InputError`` if its file is missing or damaged."""
    from napari_melanoma.samples.catalog import get_sample
    from napari_melanoma.ui.readers import read_layers

    return read_layers(str(get_sample(name).path))
