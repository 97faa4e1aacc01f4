"""The session of a slide without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

from psygnal import Signal
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from conftest import wait_until_idle
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import NotesFile, SlideNotes
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.session.workspace import Workspace

PIXEL_SIZE = PixelSize(0.5, 0.5, "file")


class Status:
    """A status line."""

    text, is_in_view = "", True

    def show_message(self, text: str) -> None:
        self.text = text

    def add_note(self, text: str) -> None:
        self.text = text

    def show_until(self, text: str, *_: object) -> None:
        self.text = text

    def show_error(self, text: str, *_: object, task: str = "") -> None:
        self.text = text

    def end_message(self, text: str) -> None:
        self.text = "" if self.text == text else self.text


class Window:
    """The services of a window that sessions need."""

    reader_changed = Signal(str)

    def __init__(self) -> None:
        self.reader, self.status, self.workspace, values = "", Status(), Workspace(Mock()), {}
        self.settings = SimpleNamespace(get=values.get, set=values.__setitem__)

    def follow_scale(self, location: SlideResultLocation) -> bool:
        return False

    def set_reader(self, name: str) -> None:
        self.reader = name
        self.reader_changed.emit(name)


def open_session(qtbot: QtBot, path: Path, folder: Path, side: int = 512) -> Iterator[SlideSession]:
    """Yield the session of a slide with results in a folder."""
    parent = QObject()
    folder.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    info = SimpleNamespace(path=path, origin=(0, 0), pixel_size=PIXEL_SIZE, fingerprint="print")
    slide = SimpleNamespace(identity=str(path), size=(side, side), info=info)
    location = SlideResultLocation(
        str(path), folder.parent, folder, SlideNotes(), NotesFile(folder), False, view_folder=folder / "view"
    )
    sessions = SlideSessions(parent)
    session = SlideSession(slide, location, Window(), sessions)
    sessions.add(session)
    yield session
    sessions.remove(session.identity)
    wait_until_idle(qtbot)
    parent.deleteLater()


def reopens(session: SlideSession) -> SlideSession:
    """Close a session, and open another one of the same slide at once."""
    again = SlideSession(session.slide, session.location, session.services, session.sessions)
    session.sessions.remove(session.identity)
    session.sessions.add(again)
    return again
