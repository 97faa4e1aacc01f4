"""The readers and samples listed in ``napari.yaml``; they keep the units of layers consistent even without a dock.

napari imports this module before a window is shown, so Qt is imported only when a function is called in a window.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui import reader_preference, readers, sample_data
from napari_melanoma.ui.readers import LayerData

UNITS_OBJECT_NAME = "melanoma_layer_units"


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return the reader of photographs, slides and regions; None if another reader opens the path.

    Where napari's settings name this plugin for the ending, the other reader itself is returned, also for gray images,
    since napari would report an error instead of asking it.
    """
    from napari_melanoma.io.dicom_report import is_dicom_report
    from napari_melanoma.io.geojson import is_geojson

    paths = [path] if isinstance(path, str) else path
    if all(is_geojson(Path(single)) or is_dicom_report(Path(single)) for single in paths):
        return import_regions
    is_own = readers.get_reader(path) is not None
    if "napari" in sys.modules and reader_preference.is_preferred(paths[0]):
        if not is_own:
            return reader_preference.find_other_reader(path)
        if any(readers.is_gray(Path(single)) for single in paths):
            return partial(reader_preference.read_by_other, fallback=read_layers)
    return read_layers if is_own else None


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Read photographs and slides as napari layers, and keep the units of the viewer's layers consistent."""
    layers = readers.read_layers(path)
    keep_units_consistent()
    return layers


def import_regions(path: str | list[str]) -> list[tuple[None]]:
    """Add the regions in files to the slide of the Slide dock, which is opened if necessary; no layer is returned."""
    import napari

    from napari_melanoma.ui.viewer.docking import show_dock

    viewer = napari.current_viewer()
    paths = [Path(single) for single in ([path] if isinstance(path, str) else path)]
    if viewer is None:
        raise InputError(f"{paths[0]} holds regions of a slide. Open the slide in napari's window first.")
    dock: Any = show_dock(viewer, "Slide")
    dock.dropped_files.import_regions(paths)
    return [(None,)]  # tells napari that the file was read, without a layer


def keep_units_consistent() -> None:
    """Keep the units of the layers in the current window consistent, also when no dock is open."""
    if "napari" not in sys.modules or "qtpy" not in sys.modules:
        return  # called from a script, without a window
    import napari
    from qtpy.QtCore import QObject

    from napari_melanoma.ui.viewer.layers import LayerUnits
    from napari_melanoma.ui.widgets.signals import Connections

    viewer = napari.current_viewer()
    if viewer is None:
        return
    window = viewer.window.main_menu.window()
    if window.findChild(QObject, UNITS_OBJECT_NAME) is None:
        LayerUnits(viewer, Connections(window), window).setObjectName(UNITS_OBJECT_NAME)


def _with_consistent_units(sample: Callable[[], list[LayerData]]) -> Callable[[], list[LayerData]]:
    @wraps(sample)
    def wrapper() -> list[LayerData]:
        layers = sample()
        keep_units_consistent()
        return layers

    return wrapper


melanoma_sample = _with_consistent_units(sample_data.melanoma_sample)
nevus_sample = _with_consistent_units(sample_data.nevus_sample)
keratosis_sample = _with_consistent_units(sample_data.keratosis_sample)
case_sample = _with_consistent_units(sample_data.case_sample)
slide_sample = _with_consistent_units(sample_data.slide_sample)
phantom_sample = _with_consistent_units(sample_data.phantom_sample)
