"""The session of a slide: what a reader has painted on it as one value, and the sessions of all open slides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from psygnal import Signal

from napari_melanoma.ui.session.history import History

if TYPE_CHECKING:
    from pathlib import Path

    from napari.viewer import Viewer
    from qtpy.QtWidgets import QAbstractButton

    from napari_melanoma.core.channel_choice import ChannelChoice
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.status_line import StatusLine
    from napari_melanoma.ui.widgets.style import ThemedIcons


@dataclass(frozen=True)
class SlideState:
    """What a reader can change on one slide: it is saved, undone and compared as a whole.

    ``classes``: in the order of the user, also those without strokes. ``channels``: those of a fluorescence slide that
    are painted on; None for brightfield.
    """

    strokes: tuple[Stroke, ...] = ()
    classes: tuple[RegionClass, ...] = ()
    channels: ChannelChoice | None = None

    @property
    def colors(self) -> dict[str, Color]:
        """The colors of the classes by name, in their order."""
        return {one.name: one.color for one in self.classes}


Command = Callable[[SlideState], SlideState]


def add_stroke(stroke: Stroke) -> Command:
    """Add a stroke above the others."""
    return lambda state: replace(state, strokes=(*state.strokes, stroke))


def remove_stroke(stroke_id: str) -> Command:
    """Remove a stroke."""
    return lambda state: replace(state, strokes=tuple(one for one in state.strokes if one.id != stroke_id))


def add_class(added: RegionClass) -> Command:
    """Add a class, unless there is one of this name."""

    def add(state: SlideState) -> SlideState:
        return state if added.name in state.colors else replace(state, classes=(*state.classes, added))

    return add


def edit_class(previous: RegionClass, edited: RegionClass) -> Command:
    """Change name and color of a class and of its strokes; with the name of another class, the two are merged."""

    def edit(state: SlideState) -> SlideState:
        from napari_melanoma.slides.tissue_classifier.strokes import rename_class

        classes = {one.name: one for one in state.classes if one.name != edited.name or one.name == previous.name}
        renamed = [edited if one.name == previous.name else one for one in classes.values()]
        strokes = rename_class(state.strokes, previous.name, edited.name)
        return replace(state, strokes=strokes, classes=tuple(renamed))

    return edit


def remove_class(name: str) -> Command:
    """Remove a class with its strokes."""

    def remove(state: SlideState) -> SlideState:
        from napari_melanoma.slides.tissue_classifier.strokes import delete_class

        classes = tuple(one for one in state.classes if one.name != name)
        return replace(state, strokes=delete_class(state.strokes, name), classes=classes)

    return remove


def set_channels(channels: ChannelChoice) -> Command:
    """Paint on other channels of a fluorescence slide."""
    return lambda state: replace(state, channels=channels)


def join_classes(first: Iterable[RegionClass], others: Iterable[RegionClass]) -> tuple[RegionClass, ...]:
    """Return classes, followed by those of ``others`` that have another name."""
    joined = {one.name: one for one in first}
    for one in others:
        joined.setdefault(one.name, one)
    return tuple(joined.values())


class SessionServices(Protocol):
    """What a window offers to the sections of its sessions.

    ``tool_buttons``: of the tools on the canvas, checked while a tool is active. ``class_key_pressed``: emits the
    number of the class to use with the active tool. ``analysis_requested``: emit the name of a model to analyze the
    displayed slide with. ``slide_requested``: emit the file of a slide to display.
    """

    viewer: Viewer
    settings: DockSettings
    icons: ThemedIcons
    status: StatusLine
    tool_buttons: list[QAbstractButton]
    class_key_pressed: Any  # a signal of Qt, which has no type of its own
    analysis_requested: Any
    slide_requested: Any

    @property
    def reader(self) -> str:
        """Name of the reader; empty if not given."""


class SlideSession:
    """One open slide. Sections read its state, change it with commands, and are notified of changes.

    ``closed``: the slide was closed; emits its identity. ``folder``: the result folder of the slide. ``sessions``:
    those of all open slides, which share one classifier.
    """

    changed = Signal(SlideState)
    closed = Signal(str)

    def __init__(
        self,
        slide: ViewerSlide,
        folder: Path,
        services: SessionServices,
        sessions: SlideSessions,
        state: SlideState | None = None,
    ) -> None:
        self.slide, self.folder, self.services, self.sessions = slide, folder, services, sessions
        self._history = History(state or SlideState())

    @property
    def identity(self) -> str:
        """The absolute path of the slide."""
        return self.slide.identity

    @property
    def state(self) -> SlideState:
        """The current state."""
        return self._history.current

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._history.past)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone change to redo."""
        return bool(self._history.undone)

    def apply(self, command: Command) -> None:
        """Change the state with a command, as one step of the history."""
        state = command(self.state)
        if state != self.state:
            self._set(self._history.push(state))

    def complete(self, command: Command) -> None:
        """Change the state and its history without a step, such as classes of this user that are not in the file."""
        self._history = self._history.map_values(command)

    def undo(self) -> None:
        """Undo the last change."""
        self._set(self._history.undo())

    def redo(self) -> None:
        """Redo the last change that was undone."""
        self._set(self._history.redo())

    def _set(self, history: History[SlideState]) -> None:
        if history is not self._history:
            self._history = history
            self.changed.emit(self.state)


class SlideSessions:
    """The sessions of the open slides.

    ``changed``: a session was added or removed, or the state of a session has changed.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._sessions: dict[str, SlideSession] = {}

    def __iter__(self) -> Iterator[SlideSession]:
        """Iterate over the sessions, in the order in which the slides were opened."""
        return iter(tuple(self._sessions.values()))

    def get(self, identity: str) -> SlideSession | None:
        """Return the session of a slide; None if it has none."""
        return self._sessions.get(identity)

    def add(self, session: SlideSession) -> None:
        """Add a session, which replaces that of the same slide."""
        self.remove(session.identity)
        self._sessions[session.identity] = session
        session.changed.connect(self._on_changed)
        self.changed.emit()

    def remove(self, identity: str) -> None:
        """Remove the session of a slide that was closed."""
        session = self._sessions.pop(identity, None)
        if session is not None:
            session.changed.disconnect(self._on_changed)
            session.closed.emit(identity)
            self.changed.emit()

    def apply(self, command: Command) -> None:
        """Apply a command to the sessions of all slides, such as another name of a class."""
        for session in self:
            session.apply(command)

    def _on_changed(self, state: SlideState) -> None:
        self.changed.emit()
