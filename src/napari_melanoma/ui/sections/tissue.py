"""The Tissue section of a slide: detect its tissue, and correct it in a layer; the analysis uses the corrected mask."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QSizePolicy

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.reading.tiled import TiledSlide
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.tissue import (
    TissueState,
    back_up_corrected_masks,
    write_corrected_mask,
    write_detected_mask,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.layers import complete_brush_strokes, restart_labels
from napari_melanoma.ui.widgets.dialogs import confirm
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_melanoma.slides.tissue import TissueMethod
    from napari_melanoma.ui.session.slide import SlideSession

METHODS: dict[TissueMethod, str] = {  # and how each distinguishes tissue from glass
    "auto": "Threshold above the noise of the glass",
    "otsu": "Otsu's threshold on the stain density",
    "entropy": "Otsu's threshold on the local entropy",
}
SAVE_MS = 1000  # after the last stroke
FOUND = "{}: tissue detected."
KEPT = "{}: the tissue was corrected during detection. Your corrections are kept; detect again to replace them."
NOT_BRIGHTFIELD = "Tissue is detected on brightfield slides only."
NOT_DETECTED = "Tissue is detected during the analysis. Detect it now to review and correct it."
CORRECTED = "{:.0f} % of the slide, corrected by you. The analysis uses this mask until you press Detect again."
DETECTED = "{:.0f} % of the slide. Paint or erase in the layer to correct it."


class TissueSection(SlideSection):
    """Detect the tissue, show it, and let the user paint on it."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._slide, self._viewer, self._status = session.slide, session.services.viewer, session.services.status
        tip = "How tissue is distinguished from glass"
        self._method = named(NoWheelComboBox(), "tissue_method", "Method", tip)
        self._method.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for index, (name, tip) in enumerate(METHODS.items()):
            self._method.addItem(name)
            self._method.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
        tip = "Show the tissue as a layer. Paint or erase: the analysis uses the corrected mask"
        edit = named(QPushButton("Detect and edit"), "tissue_find", "Detect the tissue", tip)
        self._text = named(quiet_label(), "tissue_summary", "Summary of the tissue")
        self._text.setToolTip("")
        tip = "Detect the tissue again, without your corrections"
        self._again = named(QPushButton("Detect again"), "tissue_anew", "Detect the tissue again", tip)
        self.add(row(self._method, edit, stretch=0), row(self._again), self._text)
        self._save_timer = DebounceTimer(self, SAVE_MS)
        self._save_timer.timeout.connect(self._save)
        self._method.textActivated.connect(self._on_method)
        edit.clicked.connect(lambda: self._detect() if self._tissue.mask is None else self._show_mask())
        self._again.clicked.connect(self._detect)
        self.follow(session.tissue.changed, self._update)
        self.follow(session.commit_requested.drawn, self._save_timer.flush)
        if (layer := self._layer) is not None:
            self._follow_layer(layer)
        self._update()

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        return session.tissue.value.is_corrected

    @property
    def _tissue(self) -> TissueState:
        return self.session.tissue.value

    @property
    def _layer(self) -> Labels | None:
        layer: Labels | None = slide_layers.find_layer(self._viewer, self._slide, "tissue")
        return layer

    def _on_method(self, method: TissueMethod) -> None:
        if self._tissue.mask is None:
            self.session.tissue.set(TissueState(method))
        else:
            self._detect()

    def _detect(self) -> None:
        """Detect the tissue by the selected method, after confirmation if it was corrected."""
        details = "Your corrections will be lost."
        if self._tissue.is_corrected and not confirm(
            self, "replace_tissue", "Detect the tissue again?", details, "Detect again"
        ):
            self._update()
            return
        method: TissueMethod = self._method.currentText()  # type: ignore[assignment]
        info, before = self._slide.info, self._tissue.mask

        def show(found: tuple[NDArray[np.bool_], tuple[str, ...]]) -> None:
            if self._tissue.mask is not before:
                self._status.show_message(KEPT.format(info.name))
                return
            mask, warnings = found
            self._save_timer.stop()
            tissue, folder = TissueState(method, mask, mask, warnings), self.session.folder
            self.session.tissue.set(tissue)
            self._show_mask()
            self._status.show_message(FOUND.format(info.name))
            self._save()

            def write(run: RunContext) -> None:
                run.check()
                write_detected_mask(folder, tissue)

            run_job(self, "detected", write, lambda _: None, partial(show_failure, self._status))

        work = partial(detect_tissue, self._slide.slide, info, method)
        self._status.run(self, "Detecting tissue ...", work, show).finished.connect(self._update)

    def _show_mask(self) -> None:
        """Show the tissue as a layer, to be painted if the slide is displayed."""
        mask = self._tissue.mask
        if mask is None:
            return
        labels, is_new = mask.astype(np.uint8), self._layer is None
        placement = MapPlacement.from_thumbnail(mask.shape, self._slide.size, self._slide.info.pixel_size)
        layer = slide_layers.get_or_add_layer(
            self._viewer, self._slide, "tissue", partial(_create_layer, labels), placement
        )
        if is_new:
            self._follow_layer(layer)
        if self._slide.is_shown:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = "paint"

    def _follow_layer(self, layer: Labels) -> None:
        for event in (layer.events.paint, layer.events.set_data):  # the second: undo
            self.follow(event, self._on_painted)

    def _on_painted(self, event: object = None) -> None:
        layer, mask = self._layer, self._tissue.mask
        if layer is not None and mask is not None and not np.array_equal(drawn := layer.data != 0, mask):
            self.session.tissue.set(replace(self._tissue, mask=drawn))
            self._save_timer.start()

    def _save(self) -> None:
        """Save the corrections now, since the slide may be about to close; back up those that were undone."""
        tissue, location = self._tissue, self.session.location
        try:
            if tissue.mask is not None and tissue.is_corrected:
                write_corrected_mask(self.session.folder, tissue.mask)
            else:
                back_up_corrected_masks((location.folder, location.view_folder))
        except (OSError, SaveError) as error:
            show_failure(self._status, error)

    def _update(self) -> None:
        tissue, is_brightfield, layer = self._tissue, self._slide.info.kind == "brightfield", self._layer
        if layer is not None and tissue.mask is not None and not np.array_equal(layer.data != 0, tissue.mask):
            restart_labels(layer, tissue.mask.astype(np.uint8))  # detected, or corrected in another window
        self.setEnabled(is_brightfield)
        self._method.setCurrentText(tissue.method)
        self._again.setVisible(is_brightfield and tissue.mask is not None)
        if not is_brightfield:
            self._text.setText(NOT_BRIGHTFIELD)
        elif tissue.mask is None:
            self._text.setText(NOT_DETECTED)
        else:
            text = (CORRECTED if tissue.is_corrected else DETECTED).format(100 * tissue.mask.mean())
            self._text.setText("\n".join((text, *(() if tissue.is_corrected else tissue.warnings))))


def detect_tissue(
    slide: TiledSlide, info: SlideInfo, method: TissueMethod, run: RunContext
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Detect the tissue as the analysis does; return a mask, (row, column) of the whole slide, and warnings."""
    from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

    overview = read_overview(slide)
    run.check()
    return tissue_of_overview(slide.info, overview, TissueConfig(method=method), info.pixel_size, run)


def _create_layer(labels: NDArray[np.uint8]) -> Labels:
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#2f9e6e"})
    layer = Labels(labels, opacity=0.35, colormap=colormap)
    layer.selected_label, layer.brush_size = 1, max(10, max(labels.shape) // 60)
    complete_brush_strokes(layer)
    return layer
