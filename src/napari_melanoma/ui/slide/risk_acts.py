"""What a user does in the Risk fold: picks a model, fills in the form, asks for a risk, a map, a gallery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.ui.slide import camera as slide_camera
from napari_melanoma.ui.slide.picker import said_name
from napari_melanoma.ui.slide.risk_asking import RiskQuestion

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk import SlideRisk
    from napari_melanoma.ui.slide.risk_view import RiskView
    from napari_melanoma.ui.slide.watch import SuspiciousTile

MODEL = "slide/risk_model"
VIEW_TILES = 3  # how many times as wide as a place the view is that goes there


class RiskActs(QObject):
    """Takes what the user does to keeper and worker."""

    def __init__(self, page: SlideRisk, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(page)
        self._page, self._dock, self._viewer = page, dock, viewer

    def hear(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        keeper = self._page.keeper
        view.model.changed.connect(self._on_model)
        view.model.failed.connect(self._page.failed)
        view.patient.edited.connect(self._on_edited)
        view.patient.restored.connect(keeper.restore)
        view.estimate.clicked.connect(self._on_estimate)
        view.patches.linkActivated.connect(self._on_patch)
        view.map_wanted.connect(self._on_map)
        view.gallery.wanted.connect(partial(self._ask, "biomarkers"))
        view.gallery.chosen.connect(self._on_place)

    def _ask(self, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - as JSON holds it
        """Ask about the slide in view."""
        page = self._page
        if page.made is not None and page.slide is not None and page.folder is not None:
            told = {"model": page.made.model.model, **arguments}
            page.asking.ask(RiskQuestion(kind, page.slide.info.path, said_name(page.slide.info), page.folder, told))
            page.tell()

    def _on_edited(self) -> None:
        """Take what was typed; the form itself is left alone, for a hand may be in it."""
        if self._page.made is not None:
            self._page.keeper.fill_in(self._page.made.patient.row)
            self._page.tell_answer()

    def _on_model(self) -> None:
        """Another model is picked, or there are others."""
        view = self._page.made
        if view is not None:
            self._dock.settings.keep(MODEL, view.model.model)
            view.show_model(view.model.bundle)
            self._page.tell()

    def _on_estimate(self) -> None:
        page, slide = self._page, self._page.slide
        if page.made is None or slide is None or page.why_not():
            return
        page.depth.flush()  # what was just measured counts
        size = slide.info.pixel_size
        given = size.x_um if size is not None and size.source in ("given", "ruler") else None
        self._ask("risk", row=page.made.patient.row, options={"model": page.made.model.model, "mpp": given})

    def _on_map(self, name: str, on: bool) -> None:
        """Show a map, which is asked for where it is not known, or hide it."""
        page, kept = self._page, self._page.keeper.kept
        if page.slide is None or kept is None:
            return
        wanted = page.wanted.setdefault(page.slide.identity, set())
        wanted.add(name) if on else wanted.discard(name)
        if on and name not in {one.method for one in kept.maps}:
            self._ask(name, method=name)
        page.tell()

    def _on_patch(self, place: str) -> None:
        """Go to a patch that the answer rests on."""
        slide, kept = self._page.slide, self._page.keeper.kept
        patches = [] if kept is None or not kept.answer else kept.answer["patches"]
        if slide is not None and int(place) < len(patches) and patches[int(place)].get("box"):
            slide_camera.fly_to_box(self._viewer, slide, slide_camera.View(*patches[int(place)]["box"]))

    def _on_place(self, tile: SuspiciousTile) -> None:
        """Go where a feature is excited."""
        slide = self._page.slide
        if slide is not None:
            slide_camera.fly(self._viewer, slide, (tile.row, tile.column), VIEW_TILES * tile.width_px)
