"""Apply the mask controls to the photograph in view, and share their options with other photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.lesion.analyzed_lesions import MASK_OPTIONS, ROI_OPTIONS, have_equal_fields
from napari_melanoma.ui.viewer.photographs import get_shape

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.widgets.settings import DockSettings


CHOOSE_MESSAGE = "Click the lesion to select."
DOCK_OPTIONS = ("model", "flips")  # fields of LesionOptions that apply to all photographs


class MaskEditingController(QObject):
    """Applies threshold, refinement, strokes, selected lesion and ROI options to the photograph in view."""

    def __init__(self, controls: LesionControls, controller: LesionController, viewer: Viewer) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = controller
        self._shown_identity: str | None = None
        self._click_tool = LesionClickTool(viewer, self._on_chosen)
        self.destroyed.connect(self._click_tool.stop)
        controls.mask_controls.changing.connect(self._on_threshold)
        controls.mask_controls.changed.connect(self._on_mask)
        controls.mask_controls.revert_requested.connect(self._on_revert)
        controls.roi.changed.connect(self._on_roi)
        controls.correction_tools.scribbles_added.connect(controller.watcher.watch)
        controls.correction_tools.apply_requested.connect(self._on_strokes)
        controls.correction_tools.choose_toggled.connect(self._on_choose)

    @property
    def shown_identity(self) -> str | None:
        """Identity of the photograph whose options are shown."""
        return self._shown_identity

    def set_photograph(self, identity: str | None) -> None:
        """Set the photograph; pending changes are first applied to the previous one."""
        self.stop_choosing()
        self.flush()
        self._shown_identity = identity

    def flush(self) -> None:
        """Apply pending changes at once."""
        self._controls.mask_controls.debounce.flush()
        self._controls.roi.debounce.flush()

    def stop_choosing(self) -> None:
        """Stop waiting for the click that selects a lesion; the selected lesion is kept."""
        self._controls.correction_tools.buttons["choose"].setChecked(False)
        self._click_tool.stop()

    def _analyzed_identity(self) -> str | None:
        """Identity of the shown photograph if it was analyzed and still has its mask."""
        identity = self._shown_identity
        return identity if identity is not None and self._controller.store.mask(identity) is not None else None

    def _uncorrected_identity(self) -> str | None:
        """Identity of the shown photograph if it has a mask that is not corrected, which the controls may replace."""
        identity = self._analyzed_identity()
        return None if identity is None or self._controller.store.lesions[identity].corrected else identity

    def _on_threshold(self) -> None:
        identity = self._uncorrected_identity()
        if identity is not None:
            self._controller.preview(identity)

    def _on_mask(self) -> None:
        identity = self._uncorrected_identity()
        if identity is not None:
            self._controller.rederive(identity)

    def _on_revert(self) -> None:
        identity = self._analyzed_identity()
        if identity is not None:
            self._controller.rederive(identity)

    def _on_roi(self) -> None:
        identity = self._analyzed_identity()
        if identity is not None:
            self._controller.remeasure(identity)

    def _on_strokes(self) -> None:
        identity = self._analyzed_identity()
        if identity is not None:
            self._controller.redraw(identity)

    def _on_choose(self, on: bool) -> None:
        image = self._controls.picker.image
        if on and image is not None and self._analyzed_identity() is not None:
            self._controls.status.show_message(CHOOSE_MESSAGE)
            self._click_tool.start(image)
        else:
            self._click_tool.stop()
            if self._controls.status.text == CHOOSE_MESSAGE:
                self._controls.status.show_message("")

    def _on_chosen(self, point: tuple[int, int]) -> None:
        self.stop_choosing()
        identity = self._analyzed_identity()
        if identity is None:
            return
        lesion = self._controller.store.lesions[identity]
        if not lesion.result.is_predicted:
            self._controls.status.show_message("The mask was not predicted by a model. Analyze the photograph first.")
        elif lesion.corrected:
            self._controls.status.show_message(
                "The mask was corrected manually. Reset to the predicted mask first, then select a lesion."
            )
        else:
            self._controls.status.show_message("")
            self._controller.rederive(identity, point)


class LesionClickTool:
    """Calls ``callback`` with (row, column) of a click on a photograph."""

    def __init__(self, viewer: Viewer, callback: Callable[[tuple[int, int]], None]) -> None:
        self._viewer = viewer
        self._callback = callback
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Start waiting for a click."""
        self.stop()
        self._image = image
        active = self._viewer.layers.selection.active
        if active is not None and hasattr(active, "mode"):
            active.mode = "pan_zoom"  # so that the click does not paint
        self._viewer.mouse_drag_callbacks.append(self._on_click)

    def stop(self) -> None:
        """Stop waiting for a click."""
        callbacks = self._viewer.mouse_drag_callbacks
        if self._on_click in callbacks:
            callbacks.remove(self._on_click)
        self._image = None

    def _on_click(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        image = self._image
        if image is None:
            return
        row, column = (round(float(value)) for value in image.world_to_data(event.position)[-2:])
        rows, columns = get_shape(image)
        if 0 <= row < rows and 0 <= column < columns:
            self._callback((row, column))


class SharedOptionsController(QObject):
    """Stores options per photograph, and on request shares those of one with all that have no options of their own."""

    def __init__(
        self,
        controls: LesionControls,
        controller: LesionController,
        mask_controller: MaskEditingController,
        photograph_options: PhotographOptions,
    ) -> None:
        super().__init__(controls)
        self._controls, self._controller, self._mask_controller, self._photograph_options = (
            controls,
            controller,
            mask_controller,
            photograph_options,
        )
        for bar, names in ((controls.mask_controls.share_bar, MASK_OPTIONS), (controls.roi.share_bar, ROI_OPTIONS)):
            bar.share_requested.connect(partial(self._on_share, names))
            bar.reset_requested.connect(partial(self._share, names, LesionOptions()))
        for signal in (controls.mask_controls.changing, controls.mask_controls.changed, controls.roi.changed):
            signal.connect(self._on_changed)

    def update_view(self) -> None:
        """Show whether the options of the photograph in view apply to it only or to all."""
        shown, shared, default = self._controls.options(), self._photograph_options.shared, LesionOptions()
        for bar, names, describe in (
            (self._controls.mask_controls.share_bar, MASK_OPTIONS, describe_mask_options),
            (self._controls.roi.share_bar, ROI_OPTIONS, describe_roi_options),
        ):
            is_own = not have_equal_fields(shown, shared, names)
            is_shared = not have_equal_fields(shared, default, names)
            own = describe(shown)
            text = f"{own[:1].upper()}{own[1:]}: for {'this photograph only' if is_own else 'all photographs'}."
            if is_own and is_shared:
                text += f" All others: {describe(shared)}."
            bar.show_state(text, is_own=is_own, is_shared=is_shared)

    def _on_changed(self) -> None:
        identity = self._mask_controller.shown_identity
        if identity is not None:
            self._photograph_options.set(identity, self._controls.options())
            if identity in self._controller.store.lesions:
                self._controller.pending_options[identity] = self._controls.options()
        self.update_view()

    def _on_share(self, names: tuple[str, ...]) -> None:
        self._mask_controller.flush()
        self._share(names, self._controls.options())

    def _share(self, names: tuple[str, ...], options: LesionOptions) -> None:
        """Use the fields ``names`` of these options for all photographs that have no values of their own.

        Corrected masks are kept; only their measurements follow the ROI options.
        """
        self._mask_controller.flush()
        before, shown = self._photograph_options.shared, self._controls.options()
        self._photograph_options.set_shared(options, names)
        after = self._photograph_options.shared
        if have_equal_fields(shown, before, names):
            self._controls.set_options(copy_fields(shown, after, names))
        for identity, lesion in self._controller.store.lesions.items():
            current = self._controller.pending_options.get(identity, lesion.result.options)
            if not have_equal_fields(current, before, names) or have_equal_fields(current, after, names):
                continue
            if names == ROI_OPTIONS:
                self._controller.remeasure(identity, copy_fields(current, after, names))
            elif not lesion.corrected:
                lesion.default_options = after
                self._controller.rederive(identity, options=copy_fields(current, after, names))
        self.update_view()


def describe_mask_options(options: LesionOptions) -> str:
    """Describe threshold and refinement, such as ``threshold 0.90, all lesions``."""
    refinement = options.refinement
    parts = ["default threshold" if options.threshold is None else f"threshold {options.threshold:.2f}"]
    parts += [] if refinement.largest_only else ["all lesions"]
    parts += [] if refinement.fill_holes else ["holes not filled"]
    parts += [] if refinement.smoothing else ["not smoothed"]
    return ", ".join(parts)


def describe_roi_options(options: LesionOptions) -> str:
    """Describe the options of the ROI, such as ``margin 10 %, black background, 299 px``."""
    roi = options.roi
    background = "black background" if roi.background == "zero" else "skin kept"
    return f"margin {100 * roi.margin:.3g} %, {background}, {roi.side_px} px"


@dataclass
class PhotographOptions:
    """Options by the identity of a photograph, and shared options for photographs without their own."""

    settings: DockSettings
    _options: dict[str, LesionOptions] = field(default_factory=dict)

    @property
    def shared(self) -> LesionOptions:
        """The options of photographs without their own."""
        return self.settings.options

    def get(self, identity: str | None) -> LesionOptions:
        """Return the options of a photograph, or the shared ones."""
        return self._options.get(str(identity), self.shared)

    def set(self, identity: str, options: LesionOptions) -> None:
        """Set the options of a photograph."""
        self._options[identity] = options

    def remove(self, identity: str) -> None:
        """Remove a photograph."""
        self._options.pop(identity, None)

    def set_shared(self, options: LesionOptions, names: tuple[str, ...]) -> None:
        """Set some fields of the shared options, also for photographs that had the previous shared values."""
        before = self.shared
        self.settings.options = after = copy_fields(before, options, names)
        self._options = {
            identity: copy_fields(own, after, names) if have_equal_fields(own, before, names) else own
            for identity, own in self._options.items()
        }


def copy_fields(options: LesionOptions, source: LesionOptions, names: tuple[str, ...]) -> LesionOptions:
    """Return options with some fields copied from others."""
    return options.model_copy(update={name: getattr(source, name) for name in names})
