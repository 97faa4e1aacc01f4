"""Two slides of a case side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QDockWidget, QMainWindow, QVBoxLayout, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.picker import said_name
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import camera, scale_bar
from napari_melanoma.ui.viewer.docking import place_beside_canvas
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import named, quiet, row, tool

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.case.model import CaseImage
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

HINT = "Open two slides: the other one is shown beside the first."
ALIGN = "Bring the same place to the middle of both views, then press align here."
WIDEN_MS = 100
OVERLAYS: tuple[slide_layers.Role, ...] = ("heatmap", "lesions")  # of the slide beside that are shown on it
NO_SCALE = "Only slides with a scale, or both without, can go together."


class BesideView(QWidget):
    """Which slide beside the first, and whether the views go together.

    ``shown``: the user wants the second view, or no longer.
    """

    shown = Signal(bool)
    chosen = Signal()
    aligned = Signal()
    linked = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.combo = named(StillCombo(), "beside_slide", "Slide beside", "Which slide is shown beside this one")
        self.show_it = tool("beside_show", "Show beside", "Show it in a view of its own", "show", checkable=True)
        self.link = named(QCheckBox("move together"), "beside_link", "Move together", "The views pan and zoom together")
        self.link.setChecked(True)
        tip = "Say that the middles of both views are the same place: the views keep that offset"
        self.align = tool("beside_align", "Align here", tip, "align here")
        self.words = named(quiet(HINT), "beside_words", "How to compare")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (row(self.combo, self.show_it, stretch=0), row(self.link, self.align), self.words):
            layout.addWidget(widget)
        self.show_it.toggled.connect(self.shown)
        self.combo.activated.connect(lambda _: self.chosen.emit())
        self.align.clicked.connect(self.aligned)
        self.link.toggled.connect(self.linked)

    def show_slides(self, slides: list[OpenSlide]) -> None:
        """Offer slides."""
        kept = self.combo.currentData()
        self.combo.clear()
        for slide in slides:
            self.combo.addItem(said_name(slide.info), slide.identity)
        self.combo.setCurrentIndex(max(0, self.combo.findData(kept)))
        self.show_it.setEnabled(bool(slides))

    def show_state(self, on: bool, can_link: bool) -> None:
        """Show what can be done.

        ``on``: whether there is a second view.
        """
        self.link.setEnabled(can_link)
        self.align.setEnabled(on and can_link)
        self.words.setText((ALIGN if can_link else NO_SCALE) if on else HINT)


class SlideBeside(QObject):
    """Makes the second view, and moves each when the other moves."""

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._fold = dock, viewer, dock.beside_fold
        self._view: BesideView | None = None
        self._slide: OpenSlide | None = None
        self._model: Any = None  # the second view: napari's ViewerModel, its canvas, the dock around it
        self._canvas: Any = None
        self._frame: Any = None
        self._other = ""
        self._width = 0  # of the dock before there was a second view
        self._moving = False
        self.offset = (0.0, 0.0)  # (y, x) from a place in the first view to the same in the second, in its unit
        for events in (camera(viewer).events.center, camera(viewer).events.zoom):
            dock.connections.connect(events, self._on_first)
        for emitter in (viewer.layers.events.inserted, viewer.layers.events.removed):
            dock.connections.connect(emitter, self._on_layers)
        dock.heat.changed.connect(self._on_heat)
        dock.places.bar.connect(self._on_bar)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def model(self) -> Any:  # noqa: ANN401 - napari moved it
        """Napari's model of the second view; None where there is none."""
        return self._model

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._refresh()

    def _on_fold(self, is_open: bool) -> None:
        """Make what is inside when somebody looks for the first time."""
        if is_open and self._view is None:
            self._view = view = BesideView()
            view.shown.connect(self._on_shown)
            view.chosen.connect(self._on_chosen)
            view.aligned.connect(self._on_aligned)
            view.linked.connect(self._on_first)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(view)
            self._refresh()

    def _on_layers(self, event: object = None) -> None:
        self._refresh()
        self._lay_over()

    def _refresh(self) -> None:
        """Offer the slides that are open; a view of one that was closed goes."""
        if self._view is None:
            return
        slides = slide_layers.open_slides(self._viewer)
        mine = None if self._slide is None else self._slide.identity
        self._view.show_slides([one for one in slides if one.identity != mine])
        if self._model is not None and self._other not in [one.identity for one in slides]:
            self._view.show_it.setChecked(False)
        elif self._model is not None:
            self._view.combo.setCurrentIndex(self._view.combo.findData(self._other))
        self._view.show_state(self._model is not None, self._model is None or self._same_unit())

    def _on_shown(self, on: bool) -> None:
        if on and self._model is None:
            self._start()
        elif not on:
            self._stop()
        self._refresh()

    def _start(self) -> None:
        """Make the second view."""
        from napari.components.viewer_model import ViewerModel
        from napari.qt import QtViewer

        own = self._own()
        self._width = 0 if own is None or own.isFloating() else own.width()
        self._model = ViewerModel()
        self._canvas = QtViewer(self._model)
        self._frame = self._viewer.window.add_dock_widget(self._canvas, name="Slide beside", area="right")
        self._place()
        for events in (camera(self._model).events.center, camera(self._model).events.zoom):
            events.connect(self._on_second)
        self._fill()

    def _place(self) -> None:
        """Put the second view between the first and the dock, as wide as the first."""
        window, own = self._dock.window(), self._own()
        frames = [one for one in window.findChildren(QDockWidget) if one.isAncestorOf(self._canvas)]
        if isinstance(window, QMainWindow) and own is not None and frames and not own.isFloating():
            place_beside_canvas(window, frames[0])
            QTimer.singleShot(WIDEN_MS, self._widen)

    def _own(self) -> QDockWidget | None:
        """The frame of the dock."""
        own = self._dock.parent()
        while own is not None and not isinstance(own, QDockWidget):
            own = own.parent()
        return own

    def _narrow(self) -> None:
        """Give the first view back the room that Qt gave to the dock when the second view went."""
        window, own = self._dock.window(), self._own()
        if isinstance(window, QMainWindow) and own is not None and self._width and self._model is None:
            window.resizeDocks([own], [self._width], Qt.Orientation.Horizontal)

    def _widen(self) -> None:
        """Give the second view half of the room of both, once Qt has laid it out."""
        window = self._dock.window()
        frames = [one for one in window.findChildren(QDockWidget) if self._canvas and one.isAncestorOf(self._canvas)]
        if isinstance(window, QMainWindow) and frames and window.centralWidget() is not None:
            room = frames[0].width() + window.centralWidget().width()
            window.resizeDocks([frames[0]], [room // 2], Qt.Orientation.Horizontal)

    def _stop(self) -> None:
        """Take the second view away."""
        if self._model is None:
            return
        model, self._model, self._other = self._model, None, ""
        for events in (camera(model).events.center, camera(model).events.zoom):
            events.disconnect(self._on_second)
        self._viewer.window.remove_dock_widget(self._frame)
        model.layers.clear()
        self._canvas.close()
        self._canvas.deleteLater()
        self._canvas = self._frame = None
        QTimer.singleShot(WIDEN_MS, self._narrow)

    def _fill(self) -> None:
        """Show the slide that was chosen, from the same open file."""
        from napari.layers import Layer

        view = self._view
        wanted = None if view is None else view.combo.currentData()
        slide = next((one for one in slide_layers.open_slides(self._viewer) if one.identity == wanted), None)
        if slide is None or self._model is None:
            return
        self._moving = True
        self._other, self.offset = slide.identity, (0.0, 0.0)
        self._model.layers.clear()
        for layer in slide.layers:
            copy = Layer.create(*layer.as_layer_data_tuple())
            copy.visible = True
            self._model.add_layer(copy)
        self._lay_over()
        self._on_bar(self._dock.places.is_bar_wanted)
        self._model.reset_view()
        self._moving = False
        self._on_first()

    def _lay_over(self) -> None:
        """Show what was found on the slide beside, as far as it is known; what is there already stays."""
        from napari.layers import Layer

        slide = self._other_slide()
        if slide is None or self._model is None:
            return
        for role in OVERLAYS:
            made = slide_layers.part(self._viewer, slide, role)
            if made is not None and slide_layers.part(self._model, slide, role) is None:
                copy = Layer.create(*made.as_layer_data_tuple())
                copy.visible = True
                self._model.add_layer(copy)
        self._on_heat()

    def _other_slide(self) -> OpenSlide | None:
        """The slide beside; None where there is none."""
        return next((one for one in slide_layers.open_slides(self._viewer) if one.identity == self._other), None)

    def _on_heat(self) -> None:
        """Let the heatmap beside look as the controls of the dock say."""
        slide, controls = self._other_slide(), self._dock.heat
        layer = None if slide is None or self._model is None else slide_layers.part(self._model, slide, "heatmap")
        if layer is not None:
            controls.dress(layer)

    def _on_bar(self, on: bool) -> None:
        slide = self._other_slide()
        if self._model is not None:  # without a scale the unit of the layers is a stand-in
            scale_bar(self._model).visible = on and slide is not None and slide.info.pixel_size is not None

    def _on_chosen(self) -> None:
        self._fill()
        self._refresh()

    def _same_unit(self) -> bool:
        """Whether both slides have a scale, or neither."""
        other = self._other_slide()
        if self._slide is None or self._model is None or other is None:
            return False
        return (other.info.pixel_size is None) == (self._slide.info.pixel_size is None)

    def _goes_along(self) -> bool:
        linked = self._view is not None and self._view.link.isChecked()
        return self._model is not None and linked and not self._moving and self._same_unit()

    def _on_first(self, event: object = None) -> None:
        """The first view was moved: the second goes along."""
        if self._goes_along():
            self._follow(camera(self._viewer), camera(self._model), 1)

    def _on_second(self, event: object = None) -> None:
        """The second view was moved: the first goes along."""
        if self._goes_along():
            self._follow(camera(self._model), camera(self._viewer), -1)

    def _follow(self, leader: Any, follower: Any, sign: int) -> None:  # noqa: ANN401 - napari moved cameras
        self._moving = True
        try:
            y, x = leader.center[-2:]
            follower.zoom = leader.zoom
            follower.center = (*follower.center[:-2], y + sign * self.offset[0], x + sign * self.offset[1])
        finally:
            self._moving = False

    def _on_aligned(self) -> None:
        """What is in the middle of both views is the same place from now on."""
        if self._model is None or self._view is None:
            return
        first, second = camera(self._viewer).center[-2:], camera(self._model).center[-2:]
        self.offset = (float(second[0] - first[0]), float(second[1] - first[1]))
        self._view.link.setChecked(True)
        self._on_first()
        unit = "µm" if self._slide is not None and self._slide.info.pixel_size is not None else "px"
        said = f"{self.offset[1]:.4g}, {self.offset[0]:.4g} {unit} (x, y)"
        self._view.words.setText(f"Aligned: the slide beside is shifted by {said}.")


NO_CASE = "no case is open: open it in the Case dock (Plugins > Melanoma > Case), with this slide among its images."
NOT_IN_CASE = "{} is no image of the case that is open: drop it on its lesion in the Case dock first."


def case_beside(dock: SlideDock) -> tuple[Any, CaseImage]:
    """Find the case that takes what is known of the slide in view.

    On which the case lies; the Case dock is not imported for it.
    """
    from napari_melanoma.reports.slide import image_in

    slide, case_dock = dock.slide, dock.window().findChild(QWidget, "case_dock")
    desk: Any = getattr(case_dock, "desk", None)
    if slide is None or desk is None or desk.case is None:
        raise InputError(NO_CASE)
    image = image_in(desk.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(said_name(slide.info)))
    if desk.read_only:
        raise InputError(f"the case may not be changed: {desk.read_only}")
    return desk, image
