"""Where the map of a trained network differs from the painted one, as thumbnails that lead there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.paint.suggestions import SHOWN_CELLS, SIDE_PX, CellStrip
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtGui import QImage

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Point
    from napari_melanoma.evaluation.map_difference import DifferentPlace, MapDifference
    from napari_melanoma.ui.session.slide import SlideSession

COUNT = 8
VIEW_CELLS = 40  # width of the view of a position
HINT = "Where the maps differ: click to go there. Return paints the class of the painted map, 1 to 9 another one."
NOT_OPEN = "The slide of this position has not been displayed yet. Display it in the Slide dock, then click again."


@dataclass(frozen=True, eq=False)
class ShownPlace:
    """A thumbnail of the strip."""

    place: DifferentPlace
    image: QImage | None

    @property
    def center(self) -> Point:
        """A cell that differs, (row, column) in pixels of the finest level."""
        return self.place.center

    @property
    def text(self) -> str:
        """The text below the thumbnail."""
        return f"{self.place.painted}\n→ {self.place.network}"  # one line would be elided

    @property
    def tip(self) -> str:
        """The tooltip."""
        return (
            f"Painted classifier: {self.place.painted}. Network: {self.place.network}. {self.place.cells} cells differ "
            f"around this position. {HINT}"
        )


class PlaceStrip(CellStrip):
    """Thumbnails of places where the maps differ."""

    def __init__(self) -> None:
        super().__init__("paint_network_place", "Where the maps differ", HINT, COUNT)


def read_places(path: Path, difference: MapDifference, run: RunContext) -> tuple[ShownPlace, ...]:
    """Read the thumbnails of the places of a comparison; ``path``: the run folder."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.runs.stroke_training import DATA_SET
    from napari_melanoma.slides.tissue_classifier.cell_tiles import SIDE_CELLS
    from napari_melanoma.slides.tissue_classifier.unpainted_tiles import UNPAINTED

    shown = []
    for place in difference.places[:COUNT]:
        run.check()
        try:
            tile = read_photograph(path / DATA_SET / UNPAINTED / f"{place.image}.png").rgb
        except MelanomaError:
            shown.append(ShownPlace(place, None))
            continue
        side = len(tile)
        margin = round(side * (SIDE_CELLS - SHOWN_CELLS) / SIDE_CELLS / 2)
        step = max(1, (side - 2 * margin) // (2 * SIDE_PX))
        shown.append(ShownPlace(place, to_qimage(tile[margin : side - margin : step, margin : side - margin : step])))
    return tuple(shown)


def find_session(session: SlideSession, place: ShownPlace) -> SlideSession | None:
    """Return the session of the slide of a place; None if it has not been displayed."""
    fingerprint = place.place.fingerprint
    return next((one for one in session.sessions if one.slide.info.fingerprint == fingerprint), None)


def go_to(session: SlideSession, place: ShownPlace) -> None:
    """Move the view of the displayed slide to a place."""
    from napari_melanoma.slides.tissue_classifier.cells import CELL_UM

    width = VIEW_CELLS * CELL_UM / min(session.slide.pixel_um)
    center_view(session.services.viewer, session.slide, place.center, width)
