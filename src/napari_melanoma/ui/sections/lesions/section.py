"""The Lesions section of a slide: list, draw, change and classify the lesions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import TYPE_CHECKING

from napari_melanoma.slides.lesion_edits import merge_lesions, remove_lesion, set_lesion_class, split_lesion
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.lesions.drawing import LesionDrawing, LesionRefinement
from napari_melanoma.ui.sections.lesions.layer import LesionCanvas
from napari_melanoma.ui.sections.lesions.resolve import LesionFacts, resolve_lesions
from napari_melanoma.ui.sections.lesions.view import TOOLS, LesionView
from napari_melanoma.ui.session.lesions import LESION_DOCUMENT
from napari_melanoma.ui.viewer.view_memory import zoom_to_polygons

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.lesion_edits import Lesions
    from napari_melanoma.slides.lesions import LesionConfig, LesionMaps
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.slide import SlideSession

SelectionEdit = Callable[["Lesions", tuple[int, ...], "LesionMaps", "LesionConfig"], "Lesions"]
SPLIT_HINT = "Press the mouse button on one side of the lesion, release it on the other."


class LesionsSection(SlideSection):
    """Connects the widgets with the lesions of a slide and with the canvas."""

    documents = (LESION_DOCUMENT,)
    tools = ("draw", "click")
    parts = (LesionCanvas,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._document, self._canvas = session.lesions, session.part(LesionCanvas)
        self.view = view = LesionView()
        self.add(view)
        LesionDrawing(session, view.buttons["draw"], view.drawing_panel)
        LesionRefinement(session, view.buttons["refine"])
        session.services.tool_buttons += [view.buttons[name] for name in TOOLS]
        self._connect()
        self._on_lesions(self._document.value)

    def toggle_tool(self, name: str) -> None:
        """Start drawing or refining, or stop it."""
        self.view.buttons["draw" if name == "draw" else "refine"].click()

    def _connect(self) -> None:
        session, document, view = self.session, self._document, self.view
        for signal, slot in (
            (document.changed, self._on_lesions),
            (document.saved, self._on_saved),
            (session.selected_lesions.changed, self._on_selection),
            (session.results.changed, self._update_texts),
        ):
            self.follow(signal, slot)
        slots: dict[str, Callable[[], object]] = {
            "merge": partial(self._edit, merge_lesions),
            "class": partial(self._edit, _switch_classes),
            "remove": partial(self._edit, _remove),
            "split": self._on_split,
            "undo": document.undo,
            "redo": document.redo,
        }
        for name, action in slots.items():
            view.buttons[name].clicked.connect(lambda _=False, action=action: action())
        view.table.chosen.connect(self._on_chosen)
        view.table.key_pressed.connect(lambda _: self._edit(_remove))
        self._canvas.split_line_drawn.connect(self._on_split_line)

    def _on_lesions(self, state: LesionState | None) -> None:
        """Show other lesions; those that no longer exist are deselected."""
        lesions, target = ((), "") if state is None else (state.lesions, state.source.target)
        selected, numbers = self.session.selected_lesions, {lesion.index for lesion in lesions}
        kept = tuple(index for index in selected.value if index in numbers)
        self.view.table.show_lesions(lesions, target, kept)
        if kept != selected.value:
            selected.set(kept)
        self._update_texts()

    def _on_selection(self, selected: tuple[int, ...]) -> None:
        self.view.table.select(selected)
        self._update_texts()

    def _update_texts(self, _: object = None) -> None:
        document, session = self._document, self.session
        facts = LesionFacts(
            document.value,
            session.results.value,
            session.selected_lesions.value,
            can_undo=document.can_undo,
            can_redo=document.can_redo,
            is_corrected=document.is_corrected,
        )
        self.view.show_texts(resolve_lesions(facts))

    def _on_chosen(self, indices: tuple[int, ...]) -> None:
        """Select the lesions of the selected rows, and zoom to a single one."""
        self.session.selected_lesions.set(indices)
        state = self._document.value
        for lesion in () if state is None or len(indices) != 1 else state.lesions:
            if lesion.index in indices:
                zoom_to_polygons(self.session.services.viewer, self.session.slide, lesion.polygons)

    def _edit(self, edit: SelectionEdit) -> None:
        if selected := self.session.selected_lesions.value:
            self._document.edit(lambda lesions, maps, config: edit(lesions, selected, maps, config))

    def _on_split(self) -> None:
        """Let the user draw a line across the selected lesion."""
        self._canvas.start_split()
        self.session.services.status.show_message(SPLIT_HINT)

    def _on_split_line(self, line: NDArray[np.float64]) -> None:
        self.session.services.status.end_message(SPLIT_HINT)
        selected = self.session.selected_lesions.value
        if len(selected) == 1:
            self._document.edit(lambda lesions, maps, config: split_lesion(lesions, *selected, line, maps, config))

    def _on_saved(self) -> None:
        state, services = self._document.value, self.session.services
        if state is not None:
            folder = state.source.folder
            services.status.show_message(f"Saved in {services.icons.link(folder.as_uri(), folder.name)}.")


def _remove(lesions: Lesions, selected: tuple[int, ...], maps: LesionMaps, config: LesionConfig) -> Lesions:
    return reduce(remove_lesion, selected, lesions)


def _switch_classes(lesions: Lesions, selected: tuple[int, ...], maps: LesionMaps, config: LesionConfig) -> Lesions:
    """Switch lesions between malignant and benign."""
    labels = {lesion.index: lesion.label for lesion in lesions}
    for index in selected:
        lesions = set_lesion_class(lesions, index, "benign" if labels[index] == "malignant" else "malignant")
    return lesions
