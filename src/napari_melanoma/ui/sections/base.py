"""What all sections share: a section is a widget of one open image, deleted with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.signals import follow

if TYPE_CHECKING:
    from napari_melanoma.ui.session.case_lesion import LesionSession  # noqa: F401 - in a base class
    from napari_melanoma.ui.session.document import DocumentKind
    from napari_melanoma.ui.session.photograph import PhotographSession  # noqa: F401 - in a base class
    from napari_melanoma.ui.session.slide import SlideSession

Session = TypeVar("Session")
SPACING_PX = 4


class ImageSection(QWidget, Generic[Session]):
    """A section on one open image: made when it is first expanded, hidden while another image is displayed.

    It knows neither the dock nor other sections: sections meet in the session, which is never None. Jobs end with their
    section, and results always arrive in the section that has requested them. Tools on the canvas stop when
    ``session.displayed`` becomes False.

    ``tools``: names of tools, each with the shortcut ``<dock>.<name>``, which calls ``toggle_tool``. ``documents``: of
    a slide, which have been read before the section is made. ``awaited``: documents of other sections, which have been
    read or could not be read. ``parts``: what shows stored values on the canvas also while the section is collapsed;
    ``session.part`` makes one for each image.
    """

    tools: ClassVar[tuple[str, ...]] = ()
    documents: ClassVar[tuple[DocumentKind[Any], ...]] = ()
    awaited: ClassVar[tuple[DocumentKind[Any], ...]] = ()
    parts: ClassVar[tuple[Callable[[Any], object], ...]] = ()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(SPACING_PX)

    @classmethod
    def has_content(cls, session: Session) -> bool:
        """Whether the section shows stored values of an image: it is listed then, also if it is not one by default."""
        return False

    def toggle_tool(self, name: str) -> None:
        """Start a tool, or stop it if it is active."""

    def add(self, *widgets: QWidget) -> None:
        """Add widgets below each other."""
        for widget in widgets:
            self.column.addWidget(widget)

    def follow(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - they have no common type
        """Call a slot until the section is deleted; for signals of all that outlives it, such as the session."""
        follow(self, signal, slot)


class SlideSection(ImageSection["SlideSession"]):
    """A section of the Slide dock."""

    def add_history_shortcuts(self) -> None:
        """Undo and redo what is drawn on the slide while the section has the keyboard focus."""
        for step in ("undo", "redo"):
            add_shortcut(self, f"slide.{step}", getattr(self.session.annotations, step))

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        """Whether a document of the section is not empty."""
        return any(session.document(kind).value != kind.empty for kind in cls.documents)


class PhotographSection(ImageSection["PhotographSession"]):
    """A section of the Lesion dock."""


class LesionSection(ImageSection["LesionSession"]):
    """A section of the Case dock on the selected lesion."""
