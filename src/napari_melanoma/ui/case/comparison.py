"""Comparison of two photographs of a lesion over time, in the Case dock and in the viewer."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import QComboBox, QPushButton, QSizePolicy, QSlider, QWidget

from napari_melanoma.case.model import CaseImage, CaseLesion
from napari_melanoma.core.formatting import distinct_names
from napari_melanoma.ui.case.controller import CaseController
from napari_melanoma.ui.case.tree import format_modality
from napari_melanoma.ui.sections.choice import SectionChoice
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.view_memory import (
    fit_view,
    get_current_picture,
    list_pictures,
    save_view,
    show_only_picture,
)
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.signals import Connections, follow
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.validity import NoticeLabel

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.lesion.changes import Change, LesionChanges, RegisteredPictures

BLINK_MS = 500  # each picture; 1 Hz
STEPS = 1000  # of the slider
SAME = "Select two different photographs"
COMPARED = "Compared. Move the slider, or blink, to see both photographs."
COMPARE_TIP = "Show both photographs in registration, and measure how the lesion has changed"
BLINK_TIP = "Show both photographs in turns, each for half a second"


class CaseComparison(QObject):
    """Compares two photographs of the selected lesion, and shows them in the viewer until the user leaves."""

    failed = Signal(object)  # Exception

    def __init__(
        self,
        view: ComparisonView,
        viewer: Viewer,
        choice: SectionChoice,
        status: StatusLine,
        controller: CaseController,
    ) -> None:
        super().__init__(controller)
        self._view, self._viewer, self._choice, self._status = view, viewer, choice, status
        self._lesion: CaseLesion | None = None
        self._images: tuple[CaseImage, ...] = ()  # the photographs that are listed
        self._pair: tuple[CaseImage, ...] = ()  # the photographs that are compared
        self.layers: ComparisonLayers | None = None
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_compared)
        self._jobs.failed.connect(self._on_failed)
        self._leave_timer = QTimer(self)  # layers cannot be removed in napari's events: its loops would fail
        self._leave_timer.setSingleShot(True)
        self._leave_timer.timeout.connect(self.leave)
        self._view.chosen.connect(self._on_chosen)
        self._view.compare_button.clicked.connect(lambda checked=False: self._compare())
        self._view.leave_button.clicked.connect(lambda checked=False: self.leave())
        self._view.blink_button.toggled.connect(self._on_blink)
        self._view.slider.valueChanged.connect(self._on_swipe)
        self._view.contour_button.toggled.connect(self._on_contours)
        controller.opened.connect(self._on_opened)
        follow(self, viewer.layers.events.inserted, self._on_inserted)
        follow(self, viewer.layers.events.removed, self._on_removed)

    def show_lesion(self, lesion: CaseLesion | None) -> None:
        """Show which photographs of a lesion can be compared; leave the comparison of another lesion."""
        from napari_melanoma.case.changes import list_photographs

        photographs = () if lesion is None else tuple(image for image in lesion.images if not image.is_slide)
        is_other = (self._lesion and self._lesion.id) != (lesion and lesion.id)
        self._lesion = lesion
        if is_other or any(image not in photographs for image in self._pair):  # a photograph was changed or moved
            self.leave()
        self._choice.set_needed("Over time", len(photographs) > 1)
        if lesion is not None and (images := list_photographs(lesion)) != self._images:
            self._view.show_images(images)
            self._images = images
        self._on_chosen()

    def _on_opened(self) -> None:
        """Leave the comparison, and clear the selection: images of another case may have the same ids."""
        self.leave()
        self._images = ()
        self._view.show_images(())

    def cancel(self) -> None:
        """Cancel the computation of a comparison."""
        if self._jobs.busy:
            self._jobs.cancel()
            self._status.end("comparing", "Stopped.")

    def leave(self) -> None:
        """Stop or remove the comparison, and show the layers as they were."""
        self._leave_timer.stop()
        self.cancel()
        self._pair = ()
        layers, self.layers = self.layers, None
        if layers is not None:
            layers.leave()
            self._status.end_message(COMPARED)
        self._view.clear()

    def _on_chosen(self) -> None:
        from napari_melanoma.case.changes import explain_incomparable

        chosen = self._chosen
        if self._pair and chosen != self._pair:
            self.leave()
        same = len(self._images) > 1 and not chosen
        self._view.show_reason(SAME if same else explain_incomparable(chosen))

    @property
    def _chosen(self) -> tuple[CaseImage, ...]:
        """The selected photographs, by date if the dates are known and differ; empty if both are the same."""
        by_id = {image.id: image for image in self._images}
        ids = [str(combo.currentData()) for combo in self._view.combos]
        if len(set(ids)) < 2:
            return ()
        chosen = tuple(by_id[image_id] for image_id in ids)
        return chosen if _explain_order(chosen) else tuple(sorted(chosen, key=lambda image: image.taken_on))

    def _compare(self) -> None:
        from napari_melanoma.case.changes import ImagePair, compare_images

        self.leave()
        self._pair = self._chosen
        self._view.keep_selection()
        self._status.begin("comparing", "Comparing the photographs ...")
        compare = partial(compare_images, ImagePair(*self._pair))
        self._jobs.submit("compare", lambda: compare)

    def _on_compared(self, result: LesionChanges) -> None:
        self._status.end("comparing", COMPARED)
        self.layers = ComparisonLayers(self._viewer, result.pictures, _name_order(self._pair), self._leave_timer.start)
        self._view.show_changes(result, self._pair)
        self._on_swipe(self._view.slider.value())

    def _on_failed(self, error: Exception) -> None:
        self._status.end("comparing")
        self.failed.emit(error)

    def _on_blink(self, is_on: bool) -> None:
        if self.layers is not None:
            self.layers.blink(is_on)
            if not is_on:
                self._on_swipe(self._view.slider.value())

    def _on_swipe(self, value: int) -> None:
        if self.layers is not None:
            self._view.blink_button.setChecked(False)
            self.layers.swipe(value / STEPS)

    def _on_contours(self, is_on: bool) -> None:
        if self.layers is not None:
            self.layers.show_contours(is_on)

    def _on_inserted(self, event: Event) -> None:
        """Leave if another layer is shown, such as an image that was opened."""
        if self.layers is not None and event.value.visible:
            self._leave_timer.start()

    def _on_removed(self, event: Event) -> None:
        """Leave if the user has removed a layer of the comparison."""
        if self.layers is not None and not self.layers.is_complete:
            self._leave_timer.start()


class ComparisonView(QWidget):
    """The controls of a comparison, and the table of changes."""

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._selected: list[str] = []
        tip = "A photograph of this lesion with a mask"
        self.combos: tuple[QComboBox, QComboBox] = (
            named(NoWheelComboBox(), "comparison_first", "First photograph", tip),
            named(NoWheelComboBox(), "comparison_second", "Second photograph", tip),
        )
        self.compare_button = named(QPushButton("Compare over time"), "comparison_start", "Compare over time")
        self.reason_label = quiet_label()
        self.reason_label.setObjectName("comparison_reason")
        self.cautions = NoticeLabel("comparison_cautions", "Limits of the comparison")
        self.slider = named(
            QSlider(Qt.Orientation.Horizontal), "comparison_swipe", "Border between the photographs",
            "Move the border between both photographs",
        )  # fmt: skip
        self.slider.setRange(0, STEPS)
        self.blink_button = tool_button("comparison_blink", "Blink", BLINK_TIP, "Blink", checkable=True)
        self.contour_button = tool_button(
            "comparison_contours", "Contours", "Show the contours of the lesion", "Contours", checkable=True
        )
        self.contour_button.setChecked(True)
        self.leave_button = tool_button(
            "comparison_leave", "Leave the comparison", "Show the layers as they were before", "Leave"
        )
        self.table = named(WrappedLabel(), "comparison_table", "Changes of the lesion")
        self.table.setToolTip("")
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.table.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._note = named(WrappedLabel(), "comparison_notes", "Meaning of the intervals")
        self._sides = WrappedLabel()
        for label in (self._note, self._sides):
            label.setProperty("quiet", True)
        for combo in self.combos:
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            combo.activated.connect(lambda index: self.chosen.emit())
        self._result = QWidget()
        buttons = row(self.blink_button, self.contour_button, self.leave_button, stretch=-1)
        fill_column(self._result, self.slider, self._sides, buttons, self.cautions, self.table, self._note)
        fill_column(self, *self.combos, self.reason_label, self.compare_button, self._result)
        self.chosen.connect(self.keep_selection)
        self.clear()
        self.show_images(())

    def keep_selection(self) -> None:
        """Keep the selected photographs as long as both exist, also if there are new ones."""
        self._selected = [str(combo.currentData()) for combo in self.combos]

    def show_images(self, images: tuple[CaseImage, ...]) -> None:
        """List the photographs; select the first and the last one of a type, unless the user's selection remains."""
        for combo in self.combos:
            combo.setVisible(len(images) > 1)
            combo.clear()
            for image, text in zip(images, _describe_images(images), strict=True):
                combo.addItem(text, image.id)
        if len(set(self._selected)) > 1 and {image.id for image in images}.issuperset(self._selected):
            for combo, image_id in zip(self.combos, self._selected, strict=True):
                combo.setCurrentIndex(combo.findData(image_id))
            return
        self._selected = []
        modalities = [image.modality for image in images]
        first = next((index for index, modality in enumerate(modalities) if modalities.count(modality) > 1), 0)
        last = max((index for index, modality in enumerate(modalities) if modality == modalities[first]), default=0)
        for combo, index in zip(self.combos, (first, last), strict=True):
            combo.setCurrentIndex(index if images else -1)

    def show_reason(self, reason: str) -> None:
        """Enable the button if ``reason`` is empty, or show why it is disabled."""
        self.reason_label.setText(f"{reason}." if reason else "")
        self.reason_label.setVisible(bool(reason))
        self.compare_button.setEnabled(not reason)
        self.compare_button.setToolTip(f"{reason}." if reason else COMPARE_TIP)

    def show_changes(self, result: LesionChanges, pair: Sequence[CaseImage]) -> None:
        """Show the changes between two photographs, and the controls of the comparison."""
        was_blocked = self.slider.blockSignals(True)
        self.slider.setValue(STEPS // 2)
        self.slider.blockSignals(was_blocked)
        self.contour_button.setChecked(True)
        before, after = _name_order(pair)
        self._sides.setText(f"The {before} photograph is left of the border, the {after} one right of it.")
        self.cautions.set_text("\n".join(filter(None, (_explain_order(pair), *result.cautions))))
        self.table.setText(_format_pair(pair) + _format_changes(result.changes))
        self._note.setText(" ".join(result.notes))
        self._result.show()

    def clear(self) -> None:
        """Hide the result."""
        self.blink_button.setChecked(False)
        self._result.hide()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop blinking when the dock is hidden, since the button is hidden with it."""
        self.blink_button.setChecked(False)
        super().hideEvent(event)


def _explain_order(pair: Sequence[CaseImage]) -> str:
    """Explain why two photographs are in the order of the selection; empty if they are ordered by date."""
    days = {image.taken_on for image in pair}
    if "" not in days and len(days) == 2:
        return ""
    reason = "The days are unknown" if days == {""} else "One of the days is unknown"
    reason = reason if "" in days else "Both photographs were taken on the same day"
    return f"{reason}: the order is the one you selected."


def _name_order(pair: Sequence[CaseImage]) -> tuple[str, str]:
    return ("first", "second") if _explain_order(pair) else ("earlier", "later")


def _describe_images(images: Sequence[CaseImage]) -> list[str]:
    names = distinct_names([image.path for image in images])
    return [", ".join((image.taken_on or "day unknown", format_modality(image), names[image.path])) for image in images]


def _format_pair(pair: Sequence[CaseImage]) -> str:
    """Describe the compared photographs in rich text."""
    names = (name.capitalize() for name in _name_order(pair))
    lines = (f"{name} photograph: {text}" for name, text in zip(names, _describe_images(pair), strict=True))
    return f"<p style='margin: 3px 0'>{'<br>'.join(map(html.escape, lines))}</p>"


def _format_changes(changes: tuple[Change, ...]) -> str:
    """Format the changes in rich text; clear ones are bold."""
    lines = []
    for change in changes:
        values = "" if change.before is None else f": {' → '.join(change.values)}"
        text = html.escape(f"{change.text}, {change.conclusion}")
        lines.append(f"{html.escape(change.title + values)}<br>{f'<b>{text}</b>' if change.is_certain else text}")
    return "".join(f"<p style='margin: 3px 0'>{line}</p>" for line in lines)


class ComparisonLayers:
    """Two registered photographs as layers of the viewer, while all other layers are hidden.

    ``names``: the names of the two layers begin with these, such as ``earlier``. ``on_shown``: called when the user
    shows another image.
    """

    def __init__(
        self, viewer: Viewer, pictures: RegisteredPictures, names: tuple[str, str], on_shown: Callable[[], None]
    ) -> None:
        from napari.layers import Image

        self._viewer, self._pictures = viewer, pictures
        self._share = 0.5  # of the width, left of the border
        self._drawn = self._draw(with_contours=True)  # both photographs, uint8 (row, column, channel)
        camera = get_camera(viewer)
        self._camera = tuple(camera.center), float(camera.zoom)
        self._selected = list(viewer.layers.selection)
        self._visible = {layer: layer.visible for layer in viewer.layers}
        save_view(viewer)
        for layer in self._visible:
            layer.visible = False
        self._connections = Connections()
        for layer in (layer for picture in list_pictures(viewer) for layer in picture):
            self._connections.connect(layer.events.visible, lambda event: on_shown())
        size = pictures.pixel_size
        scale = {} if size is None else {"scale": (size.y_um, size.x_um), "units": ("um", "um")}
        metadata = {METADATA_KEY: {"role": "comparison"}}
        self._layers: tuple[Image, Image] = tuple(
            Image(data, rgb=True, name=name, metadata=dict(metadata), **scale)
            for data, name in (
                (self._drawn[0], f"{names[0]} photograph"),
                (self._clip(), f"{names[1]} photograph, registered"),
            )
        )
        for layer in self._layers:
            viewer.add_layer(layer)
        fit_view(viewer, (self._layers[0],))
        self._timer = QTimer()
        self._timer.setInterval(BLINK_MS)
        self._timer.timeout.connect(self._switch)

    @property
    def is_complete(self) -> bool:
        """Whether both layers are in the viewer."""
        return all(layer in self._viewer.layers for layer in self._layers)

    @property
    def is_blinking(self) -> bool:
        """Whether the photographs are shown alternately."""
        return bool(self._timer.isActive())

    def blink(self, is_on: bool) -> None:
        """Start or stop showing the photographs alternately."""
        if is_on:
            self._share = 0.0
            self._layers[1].data = self._clip()
            self._timer.start()
        else:
            self._timer.stop()
            self._layers[1].visible = True

    def swipe(self, share: float) -> None:
        """Show the second photograph right of a border, at a share of the width."""
        self._share = share
        self._layers[1].data = self._clip()

    def show_contours(self, is_on: bool) -> None:
        """Show or hide the contours of both masks."""
        self._drawn = self._draw(with_contours=is_on)
        self._layers[0].data, self._layers[1].data = self._drawn[0], self._clip()

    def leave(self) -> None:
        """Remove both layers, and show the others as before; an image that the user has shown since then stays."""
        self._timer.stop()
        self._connections.end()
        shown = get_current_picture(self._viewer)
        own = {*self._visible, *self._layers}
        is_undisturbed = shown is None and not any(layer.visible for layer in self._viewer.layers if layer not in own)
        for layer in self._layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        for layer, was_visible in self._visible.items():
            if was_visible and layer in self._viewer.layers:
                layer.visible = True
        if shown is not None:
            show_only_picture(self._viewer, shown)
        if is_undisturbed:
            self._restore_view()

    def _restore_view(self) -> None:
        """Restore selection and camera."""
        self._viewer.layers.selection.clear()
        self._viewer.layers.selection.update(layer for layer in self._selected if layer in self._viewer.layers)
        camera = get_camera(self._viewer)
        camera.center, camera.zoom = self._camera

    def _switch(self) -> None:
        with suppress(RuntimeError):  # the viewer was closed
            self._layers[1].visible = not self._layers[1].visible

    def _clip(self) -> NDArray[np.uint8]:
        """Return the second photograph, transparent left of the border and outside its registered area.

        uint8 (row, column, channel=4).
        """
        opaque = self._pictures.covered.copy()
        opaque[:, : round(self._share * opaque.shape[1])] = False
        return np.dstack([self._drawn[1], np.where(opaque, 255, 0).astype(np.uint8)])

    def _draw(self, *, with_contours: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        from napari_melanoma.imaging.masks import draw_overlay

        pictures = self._pictures
        if not with_contours:
            return pictures.first, pictures.second
        return draw_overlay(pictures.first, pictures.first_mask), draw_overlay(pictures.second, pictures.second_mask)
