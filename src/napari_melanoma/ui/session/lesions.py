"""The lesions of a slide: detected in the shown results, edited with undo, and saved in the folder of the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from psygnal import Signal

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.session.document import Document, DocumentKind, HistoryStep, SlideFolder, Stored, Unsaved
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.session.open_slide import OpenSlide
from napari_melanoma.ui.session.results import FINAL_STATES, AnalysisResults
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.widgets.job import JobFunction

if TYPE_CHECKING:
    from napari_melanoma.core.files import FileStamp
    from napari_melanoma.slides.lesion_edits import Lesions
    from napari_melanoma.slides.lesion_files import SavedLesions
    from napari_melanoma.slides.lesions import LesionConfig, LesionMaps

RENUMBERED = "the lesions were detected again, and have other numbers now. Select the lesions again."
HYSTERESIS = 0.2  # a lesion extends to where the probability is this much below the threshold
LesionEdit = Callable[["Lesions", "LesionMaps", "LesionConfig"], "Lesions"]


@dataclass(frozen=True)
class LesionSource:
    """What lesions are detected in: the folder of results, the class of the probabilities, and the slide's size.

    ``size``: height and width in pixels of the finest level.
    """

    folder: Path
    target: str
    size: tuple[int, int]

    def read_maps(self) -> LesionMaps:
        """Read the maps in which lesions are detected and measured."""
        from napari_melanoma.slides.results import read_lesion_maps

        return read_lesion_maps(self.folder, self.target, self.size)


@dataclass(frozen=True, eq=False)
class LesionState:
    """Lesions with the thresholds at which they were detected, and lesions that were removed manually.

    ``removed`` is None if it is not known, as for lesions that were read from a file, or after edits, from which
    ``_find_removed`` derives it. ``is_recomputed``: whether the step to this state was detection at another threshold.
    ``edited_from``: the state before the edit that led to this one.
    """

    source: LesionSource
    lesions: Lesions
    config: LesionConfig
    removed: Lesions | None = None
    is_recomputed: bool = False
    edited_from: LesionState | None = None

    def has_numbers_of(self, other: LesionState | None) -> bool:
        """Whether a number means the same lesion in another state: only a detection numbers the lesions again."""
        return other is not None and (self.source, self.config) == (other.source, other.config)

    @property
    def has_manual_edits(self) -> bool:
        """Whether lesions were drawn, changed or removed manually."""
        from napari_melanoma.slides.lesion_edits import manual_lesions

        return bool(manual_lesions(self.lesions) or self.removed or self.edited_from)

    def to_saved(self) -> SavedLesions:
        """Return the lesions as their file states them."""
        from napari_melanoma.slides.lesion_files import SavedLesions

        return SavedLesions(self.lesions, self.source.target, self.config)

    def is_stored_as(self, stored: LesionState | None) -> bool:
        """Return whether these are the stored lesions; also after the steps since then were undone."""
        return stored is not None and self.lesions is stored.lesions and self.config == stored.config


LesionHistory = History[LesionState | None]


class LesionDocument(Document[LesionState | None]):
    """The lesions in the shown results, those of the whole slide or of the view; None if there are no results.

    They are detected or read when an analysis has ended. Edits run in the background, because edited lesions are
    measured on the maps of the slide, and are saved at once; a changed threshold is saved only on request, because it
    changes the results of an analysis. ``saved``: emits the lesions that were written.
    """

    saved = Signal(object)

    @classmethod
    def of(cls, session: OpenSlide) -> LesionDocument:
        """Return the document of a slide."""
        return cast("LesionDocument", session.document(LESION_DOCUMENT))

    def __init__(self, session: OpenSlide) -> None:
        self._waiting: list[Callable[[], object]] = []  # until edits of the lesions that are replaced are saved
        super().__init__(LESION_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._session = session
        self.is_ready = True  # which lesions are read depends on the results that are shown
        self._analysis: tuple[object, ...] = ()  # whose lesions were read last
        self._has_pending_edits = self._has_pending_save = False
        self._stamps: dict[Path, FileStamp | None] = {}  # versions of the files in the folders of results, as known
        self._other_classes: dict[LesionSource, LesionHistory] = {}  # edited ones of classes that were selected before
        self.queue.idle.connect(self._on_idle)
        session.results.changed.connect(self._on_results)
        session.results.target_selected.connect(self._on_target)
        session.results.threshold_selected.connect(self._on_threshold)
        self._on_results(session.results.value)

    @property
    def is_saved(self) -> bool:
        """Whether all changes are saved, or there are no lesions to save."""
        return self.value is None or self.value.is_stored_as(self._stored.value)

    @property
    def shown_lesions(self) -> Lesions:
        """The lesions to draw: of results that are not valid, only the reader's, until their numbers are shown."""
        from napari_melanoma.slides.lesion_edits import manual_lesions

        lesions = () if self.value is None else self.value.lesions
        return lesions if self._session.results.value.shows_numbers else manual_lesions(lesions)

    @property
    def is_corrected(self) -> bool:
        """Whether lesions were edited since the threshold was last changed, also by edits that are not applied yet."""
        return self._is_edited or self._has_pending_edits

    @property
    def _is_edited(self) -> bool:
        state = self.value
        return state is not None and not state.is_recomputed and (self.can_undo or state.has_manual_edits)

    def edit(self, edit: LesionEdit, selected: tuple[int, ...] = ()) -> None:
        """Edit the lesions; ``selected``: their numbers in ``edit``, which a detection that is pending may change."""
        if (shown := self.value) is None:
            return
        self._has_pending_edits = True

        def change(state: LesionState | None) -> LesionState | None:
            if selected and not shown.has_numbers_of(state):
                raise InputError(RENUMBERED)
            return None if state is None else apply_edit(edit, state)

        self.apply_slow(change)

    def step(self, direction: HistoryStep) -> None:
        """Undo or redo a step, after pending edits."""
        step = super().step
        if self.queue.busy and not self._pending_steps:  # a detection
            self.submit(lambda run: None, lambda _: step(direction))
        else:
            step(direction)

    def detect(self, target: str, threshold: float) -> None:
        """Detect the lesions of a class at a threshold, as an undo step; manual edits are kept."""
        heatmap = self._session.results.value.heatmap
        if heatmap is None or not heatmap.is_probability:
            return
        if self._waiting:
            self._waiting.append(partial(self.detect, target, threshold))
            return
        source, config = self._make_source(target), make_lesion_config(threshold, self._read_config())

        def prepare() -> JobFunction:
            state, history = self.value, self._history
            if state is not None and state.source != source:
                if self.can_undo or state.has_manual_edits:
                    self._other_classes[state.source] = history
                history = self._other_classes.pop(source, LesionHistory(None))
            return lambda run: recompute_lesions(source, config, history)

        self.queue.submit(f"detect {source.folder}", prepare, lambda history: self._show(history, self._stored))

    def read(self, target: str, config: LesionConfig) -> None:
        """Read the saved lesions with all edits; if none were saved, detect the lesions."""
        if self._waiting:
            self._waiting.append(partial(self.read, target, config))
            return
        source = self._make_source(target)

        def show(read: Stored[LesionState | None]) -> None:
            self._stamps[source.folder] = read.stamp
            self._show(LesionHistory(read.value), read if read.stamp else Stored(None))

        self.queue.submit("read", lambda: lambda run: read_lesions(source, config), show)

    def save(self) -> None:
        """Write the lesions to their results folder, after pending edits."""
        self._has_pending_save = True
        save = super()._save
        self.submit(lambda run: None, lambda _: save())

    def refresh(self) -> None:
        """Emit ``changed``, and show the threshold of the lesions, which undo may have changed."""
        if self.value is not None:
            self._session.heatmap_display.update(threshold=self.value.config.high)
        super().refresh()

    def clear(self) -> None:
        """Show no lesions: the slide is analyzed again, or other results will be shown.

        Pending edits of other results are applied and saved before; those of an analysis that runs again are ignored,
        as the user has agreed to replace them.
        """
        self._analysis = ()
        state = self.value
        is_left = state is not None and state.source.folder != self._session.result_location.folder
        if self._waiting or (is_left and (self._has_pending_edits or self._has_pending_save)):
            self._waiting = [self._show_none]
            return
        self.flush()
        self.queue.cancel()
        self._on_idle()
        self._show_none()

    def _show_none(self) -> None:
        self._other_classes = {}
        self._show(LesionHistory(None), Stored(None))

    def _on_idle(self) -> None:
        self._has_pending_edits = self._has_pending_save = False
        self._pending_steps.clear()
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def _save(self) -> None:
        """Write the lesions after a step or its undo, unless only the threshold differs from what is stored."""
        state, previous = self.value, next(iter(self._history.past[-1:]), None)
        if self.is_saved or state is None:
            return
        if not state.is_recomputed or previous is None or not previous.is_stored_as(self._stored.value):
            super()._save()

    def _write(self, unsaved: Unsaved[LesionState | None]) -> Stored[LesionState | None]:
        """Write lesions, which may be those of results that are not shown any more."""
        from napari_melanoma.slides.lesion_files import back_up_edited_lesions

        shown, written, previous = self.value, unsaved.value, self._stored.value
        folder = self.location.folder if written is None else written.source.folder
        notes: tuple[str, ...] = ()
        if written is not None and previous is not None and _differ_in_class(written.source, previous.source):
            notes = back_up_edited_lesions(folder)
        stored = self.kind.write(self.location, written, Stored(None, self._stamps.get(folder)))
        stored = replace(stored, notes=(*notes, *stored.notes))
        self._stamps[folder] = stored.stamp
        if shown is not None and written is not None and shown.source == written.source:
            self._stored = stored
        return stored

    def _on_written(self, stored: Stored[LesionState | None] | None) -> None:
        super()._on_written(stored)
        if stored is not None:
            self.saved.emit(stored.value)

    def _show(self, history: LesionHistory, stored: Stored[LesionState | None]) -> None:
        self._history, self._stored = history, stored
        self.refresh()

    def _make_source(self, target: str) -> LesionSource:
        return LesionSource(self._session.result_location.folder, target, self._session.slide.size)

    def _read_config(self) -> LesionConfig:
        """Return the criteria of the lesions in the shown results."""
        from napari_melanoma.slides.lesion_files import read_lesion_config

        return read_lesion_config((self._session.results.value.content.get("options") or {}).get("lesions"))

    def _on_results(self, results: AnalysisResults) -> None:
        """Read the lesions when an analysis has ended; remove them when other results are shown."""
        heatmap, analysis = results.heatmap, (results.is_view, analysis_identity(results.content))
        if heatmap is None:
            self.clear()
        elif results.state in FINAL_STATES and results.has_classes and analysis != self._analysis:
            self._analysis = analysis
            if results.has_lesions:
                self.read(str(results.content["target"]), self._read_config())

    def _on_target(self, target: str) -> None:
        """Detect the areas of another class; the first choice, before which there was none, is saved at once."""
        if target:  # not the map of all classes
            self.detect(target, self._session.heatmap_display.value.threshold)
            if self._session.results.value.has_classes and not self._session.results.value.has_lesions:
                self.save()

    def _on_threshold(self, threshold: float) -> None:
        heatmap = self._session.results.value.heatmap
        if heatmap is not None:
            self.detect(heatmap.target, threshold)


def _differ_in_class(one: LesionSource, other: LesionSource) -> bool:
    """Whether the lesions of two sources are of different classes, and stored in the same file."""
    return one.folder == other.folder and one.target != other.target


def make_lesion_config(threshold: float, known: LesionConfig | None = None) -> LesionConfig:
    """Return criteria of lesions for an upper threshold, the others as in ``known``; by default the default ones."""
    from napari_melanoma.slides.lesions import LesionConfig

    known = known or LesionConfig()
    if threshold == known.high:
        return known
    return known.model_copy(update={"high": threshold, "low": max(0.0, round(threshold - HYSTERESIS, 4))})


def find_lesions_in(source: LesionSource, config: LesionConfig) -> LesionState:
    """Detect the lesions of a slide."""
    from napari_melanoma.slides.lesions import find_lesions

    return LesionState(source, find_lesions(source.read_maps(), config), config)


def recompute_lesions(source: LesionSource, config: LesionConfig, previous: LesionHistory) -> LesionHistory:
    """Detect the lesions of a slide at other thresholds, and apply the manual edits of previous lesions to them."""
    from napari_melanoma.slides.lesion_edits import apply_edits

    found = find_lesions_in(source, config)
    if previous.current is None:
        return LesionHistory(found)
    # Start from the edited state, not from a result at another threshold, at which some edits may have had no effect
    history, edited = previous, previous.current
    if edited.is_recomputed and previous.past and previous.past[-1] is not None:
        history, edited = previous.undo(), previous.past[-1]
    maps = source.read_maps()
    edited = replace(edited, removed=_find_removed(edited, maps), edited_from=None)
    lesions = apply_edits(found.lesions, edited.lesions, edited.removed or (), maps, config)
    recomputed = replace(edited, lesions=lesions, config=config, is_recomputed=True)
    return replace(history, current=edited).push(recomputed)


def _find_removed(state: LesionState, maps: LesionMaps) -> Lesions:
    """Return the manually removed lesions, of all edits of a state; before them, those that detection would add.

    Detection and drawing take seconds for thousands of lesions, so that an edit does not wait for this.
    """
    from napari_melanoma.slides.lesion_edits import removed_by_edits, removed_lesions
    from napari_melanoma.slides.lesions import find_lesions

    states = [state]
    while states[-1].removed is None and states[-1].edited_from is not None:
        states.append(states[-1].edited_from)
    first, removed = states[-1], states[-1].removed
    if removed is None:
        removed = removed_lesions(find_lesions(maps, first.config), first.lesions, maps)
    return removed_by_edits(removed, [one.lesions for one in reversed(states)], maps)


def read_lesions(source: LesionSource, config: LesionConfig) -> Stored[LesionState | None]:
    """Read the saved lesions; if none were saved, detect the lesions, and return no stamp."""
    from napari_melanoma.core.files import file_stamp
    from napari_melanoma.io.results import OUTLINES
    from napari_melanoma.slides.lesion_files import read_saved_lesions

    stamp, saved = file_stamp(source.folder / OUTLINES), read_saved_lesions(source.folder)
    if saved is None:
        return Stored(find_lesions_in(source, config))
    state = LesionState(replace(source, target=saved.target or source.target), saved.lesions, saved.config)
    if not saved.lesions:  # to distinguish "none detected" from "all removed"
        state = replace(state, removed=_find_removed(state, state.source.read_maps()))
    return Stored(state, stamp)


def apply_edit(edit: LesionEdit, state: LesionState) -> LesionState:
    """Edit lesions."""
    maps = state.source.read_maps()
    edited = LesionState(state.source, edit(state.lesions, maps, state.config), state.config, edited_from=state)
    # How many were removed is stated if none is left
    return edited if edited.lesions else replace(edited, removed=_find_removed(edited, maps))


def find_lesion_at(lesions: Lesions, point: tuple[float, float]) -> int | None:
    """Return the number of the lesion at a (row, column) in pixels of the finest level; None if there is none."""
    from napari_melanoma.core.polygons import points_within

    return next((lesion.index for lesion in lesions if points_within([point], lesion.polygons).any()), None)


def _read(location: SlideFolder) -> Stored[LesionState | None]:
    return Stored(None)  # read when it is known which results are shown


def _write(
    location: SlideFolder, state: LesionState | None, stored: Stored[LesionState | None]
) -> Stored[LesionState | None]:
    from napari_melanoma.slides.lesion_files import save_lesions

    if state is None:
        return Stored(None)
    source = state.source
    saved = save_lesions(source.folder, state.lesions, state.config, target=source.target, known=stored.stamp)
    return Stored(state, *saved)


LESION_DOCUMENT: DocumentKind[LesionState | None] = DocumentKind("lesions", None, _read, _write, LesionDocument)
