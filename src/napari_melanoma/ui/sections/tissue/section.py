"""The Tissue section of a slide: detect its tissue, and show it as a layer that the user corrects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QMessageBox, QPushButton, QSizePolicy, QWidget

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.tissue.detection import TissueDetections
from napari_melanoma.ui.sections.tissue.resolve import TissueTexts, resolve_tissue
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.tissue import DEFAULT_METHOD, DetectedTissue, TissueState
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import fill_column, named, quiet_label, row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.tissue import TissueMethod
    from napari_melanoma.ui.session.slide import SlideSession

METHOD_TIPS: dict[TissueMethod, str] = {
    "auto": "Threshold above the noise of the glass",
    "otsu": "Otsu's threshold on the stain density",
    "entropy": "Kapur's maximum-entropy threshold",
}


class TissueView(QWidget):
    """The method of detection, its buttons, and a summary."""

    def __init__(self) -> None:
        super().__init__()
        self.method_combo = named(
            NoWheelComboBox(), "tissue_method", "Method", "How tissue is distinguished from glass"
        )
        self.method_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for index, name in enumerate(METHOD_TIPS):
            self.method_combo.addItem(name, name)
            self.method_combo.setItemData(index, METHOD_TIPS[name], Qt.ItemDataRole.ToolTipRole)
        tip = "Show the tissue as a layer. Paint or erase: the analysis uses the corrected mask"
        self.edit_button = named(QPushButton("Detect and edit"), "tissue_find", "Detect the tissue", tip)
        tip = "Detect the tissue again, without your corrections"
        self.reset_button = named(QPushButton("Detect again"), "tissue_anew", "Detect the tissue again", tip)
        self._summary_label = named(quiet_label(), "tissue_summary", "Summary of the tissue")
        self._summary_label.setToolTip("")
        fill_column(self, row(self.method_combo, self.edit_button, stretch=0), self._summary_label, self.reset_button)

    def show_texts(self, texts: TissueTexts) -> None:
        """Show the state of the tissue."""
        self.setEnabled(texts.is_enabled)
        self.method_combo.setCurrentIndex(max(0, self.method_combo.findData(texts.method)))
        self._summary_label.setText(texts.summary)
        self.reset_button.setVisible(texts.can_reset)


class TissueSection(Section):
    """Detect the tissue of a slide, show it, and let the user correct it."""

    def __init__(self) -> None:
        self._method: TissueMethod = DEFAULT_METHOD  # selected last, also for slides that are opened next
        self._detections: TissueDetections | None = None  # continue when another slide is displayed

    def show(self, session: SlideSession) -> None:
        """Use the method that was selected last, unless tissue was detected with another one."""
        self._session, self._owner = session, QObject(session.sessions.parent)
        self._connections = SectionConnections(self._owner)
        if self._detections is None:
            self._detections = TissueDetections(session.services.status, session.sessions)
            self._detections.detected.connect(self._on_detected)
            self._detections.canceled.connect(self._on_canceled)
        self._detections.show_progress(session)
        if self._state.detected is None and not self._detections.is_pending(session):
            self._update(method=self._method)

    def has_content(self, session: SlideSession) -> bool:
        """Whether corrected tissue is stored."""
        return session.tissue.value.stored is not None

    def open(self, session: SlideSession) -> QWidget:
        """Return the controls."""
        view, is_brightfield = TissueView(), session.slide.info.kind == "brightfield"
        view.show_texts(resolve_tissue(session.tissue.value, is_brightfield=is_brightfield))
        self._connections.connect(
            session.tissue.changed,
            lambda state: view.show_texts(resolve_tissue(state, is_brightfield=is_brightfield)),
        )
        view.edit_button.clicked.connect(self._on_edit)
        view.reset_button.clicked.connect(self._on_reset)
        view.method_combo.activated.connect(lambda _: self._on_method(view.method_combo.currentData()))
        return view

    def close(self) -> None:
        """Disconnect all signals; the layer and the detected tissue stay with their slide."""
        self._connections.close()
        self._owner.deleteLater()
        del self._session, self._owner, self._connections  # with the layers of a slide that may be closed
        if self._detections is not None:
            self._detections.show_progress(None)

    @property
    def _state(self) -> TissueState:
        return self._session.tissue.value

    def _update(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        self._session.tissue.set(replace(self._state, **changes))

    def _on_canceled(self, session: SlideSession, previous: TissueMethod) -> None:
        """Select the method before; the tissue is as before."""
        detected = session.tissue.value.detected
        self._method = previous if detected is None else detected.method
        session.tissue.set(replace(session.tissue.value, method=self._method))

    def _select(self, method: TissueMethod) -> None:
        self._method = method
        self._update(method=method)

    def _on_edit(self) -> None:
        """Show the tissue layer; detect the tissue first if necessary."""
        viewer = self._session.services.viewer
        layer = slide_layers.find_layer(viewer, self._session.slide, "tissue")
        if layer is not None:
            layer.visible = True
            viewer.layers.selection.active = layer
            layer.mode = "paint"
        elif self._state.stored is not None:
            show_mask(self._session, self._state.stored)
        else:
            self._detect(self._state.method)

    def _on_reset(self) -> None:
        """Detect the tissue again, after confirmation if it was corrected."""
        if self._session.corrected_tissue is None or self._confirm_replacing():
            self._detect(self._state.method)

    def _on_method(self, method: TissueMethod) -> None:
        """Detect the tissue with the new method if tissue is shown, after confirmation if it was corrected."""
        session, previous = self._session, self._state.method
        is_shown = slide_layers.find_layer(session.services.viewer, session.slide, "tissue") is not None
        if not is_shown and self._state.stored is None:
            self._select(method)
        elif session.corrected_tissue is None or self._confirm_replacing():
            self._select(method)
            self._detect(previous)
        else:
            self._update()  # shows the previous method again

    def _confirm_replacing(self) -> bool:
        """Ask whether the corrections may be discarded; return the answer."""
        window = self._session.services.window
        box = create_question(
            window, "replace_tissue", "Detect the tissue again?", "Your corrections will be lost.", "Slide"
        )
        box.addButton("Detect again", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _detect(self, previous: TissueMethod) -> None:
        if self._detections is not None:
            self._detections.start(self._session, previous)

    def _on_detected(self, session: SlideSession, detected: DetectedTissue) -> None:
        """Show the detected tissue, which replaces the corrected one, on its slide, also while that is hidden."""
        session.tissue.set(replace(session.tissue.value, method=detected.method, detected=detected, stored=None))
        show_mask(session, detected.mask)
        name = slide_layers.slide_display_name(session.slide.info)
        text = "Tissue detected." if session.slide.is_shown else f"The tissue of {name} is detected."
        session.services.status.show_message(text)


def show_mask(session: SlideSession, mask: NDArray[np.bool_]) -> None:
    """Show tissue, bool (row, column) of the whole slide, as a layer to correct it, once its slide is shown."""
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    def create_layer() -> Labels:
        colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#2f9e6e"})
        return Labels(mask.astype("uint8"), opacity=0.35, colormap=colormap)

    viewer, slide = session.services.viewer, session.slide
    placement = MapPlacement.from_thumbnail(mask.shape, slide.size, slide.info.pixel_size)
    layer = slide_layers.get_or_add_layer(viewer, slide, "tissue", create_layer, placement)
    layer.data = mask.astype("uint8")
    layer.selected_label, layer.brush_size = 1, max(10, max(mask.shape) // 60)
    if slide.is_shown:
        layer.visible = True
        viewer.layers.selection.active = layer
