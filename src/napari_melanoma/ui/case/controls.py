"""The controls of the Case dock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.case.details import ImagePage, LesionPage, create_heading
from napari_melanoma.ui.case.settings import CaseSettings
from napari_melanoma.ui.case.tree import PICTURE_PX, CaseTree
from napari_melanoma.ui.viewer.docking import DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.clinical_fields import PATIENT_FIELDS, CaseForm
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    Connections,
    ThemedIcons,
    WrappedLabel,
    named,
    quiet_label,
    row,
    section,
    tool_button,
)
from napari_melanoma.ui.widgets.thumbnails import ThumbnailLoader
from napari_melanoma.ui.widgets.welcome import FileDropHandler, Welcome

if TYPE_CHECKING:
    from napari.viewer import Viewer

UNDO_KEY, REDO_KEY, OPEN_KEY, LESION_KEY, IMAGE_KEY = (
    format_key(f"case.{name}") for name in ("undo", "redo", "open", "add_lesion", "add_image")
)


class CaseControls(QWidget):
    """All controls of the Case dock."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "case_dock", "Case").setToolTip("")
        self.settings = CaseSettings()
        self.connections = Connections()
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = CaseWelcome(self.icons)
        self.pictures = ThumbnailLoader(2 * PICTURE_PX, self)
        self.title = named(create_heading(), "case_title", "Case")
        self.undo_button = tool_button("case_undo", "Undo", "", "↶")
        self.redo_button = tool_button("case_redo", "Redo", "", "↷")
        self.menu_button = tool_button("case_menu", "Case menu", "New, open, recent, add, close", "case ▾")
        self.menu_button.setMenu(QMenu(self.menu_button))
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.notice = CaseNotice()
        self.patient_form = CaseForm("patient", PATIENT_FIELDS, "patient_form")
        self.confirm_button = tool_button(
            "case_confirm", "Confirm all guesses", "Confirm all guessed values of this case"
        )
        self.tree = CaseTree(self.icons, self.pictures.get)
        self.add_lesion_button = tool_button("add_lesion", "Add a lesion", f"A new lesion ({LESION_KEY})", "+ lesion")
        self.add_image_button = tool_button(
            "add_image", "Add images", f"Add images, a folder, a table or DICOM ({IMAGE_KEY})"
        )
        self.add_image_button.setText("+ image")
        self.predict_button = tool_button("case_answer", "Classify all lesions", "", "classify")
        self.remove_button = tool_button(
            "case_remove", "Remove", "Remove the selection from the case (Delete); files are kept"
        )
        self.open_button = named(QPushButton("Open image"), "primary", "Open image")
        self.lesion_page = LesionPage(self.icons, self.settings)
        self.image_page = ImagePage()
        self.hint = quiet_label("Select a lesion to enter its site and findings, or an image.")
        self.save_label = named(quiet_label(), "case_file", "Save state and location of the case")
        self.status = StatusLine(self.icons)
        self.icons.add(self.remove_button, "delete")
        self._lay_out()
        self.drops = FileDropHandler(self)
        self.tree.setAcceptDrops(True)
        self.icons.apply()

    def _lay_out(self) -> None:
        self.patient_section = section("Patient", "case_patient", self.patient_form, self.settings, True)
        self.icons.add_sections(self.patient_section)
        self._body = QWidget()
        column = QVBoxLayout(self._body)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(4)
        column.addWidget(self.patient_section)
        column.addWidget(
            row(
                QLabel("<b>Lesions</b>"),
                self.add_lesion_button,
                self.add_image_button,
                self.predict_button,
                self.remove_button,
                stretch=0,
            )
        )
        column.addWidget(self.tree)
        column.addWidget(self.hint)
        column.addWidget(self.lesion_page)
        column.addWidget(self.image_page)
        column.addStretch(1)
        self._scroll = named(QScrollArea(), "case_scroll", "Case")
        self._scroll.setToolTip("")
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self._body)
        self._head = row(
            self.title, self.confirm_button, self.undo_button, self.redo_button, self.menu_button, stretch=0
        )
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.setSpacing(4)
        whole.addWidget(self.welcome)
        whole.addWidget(self._head)
        whole.addWidget(self.notice)
        whole.addWidget(self._scroll, 1)
        whole.addStretch(0)
        whole.addWidget(self.open_button)
        whole.addWidget(self.save_label)
        whole.addWidget(self.status)
        self.status.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def update_visibility(self, is_open: bool) -> None:
        """Show the case, or the welcome page."""
        self.welcome.setVisible(not is_open)
        for part in (self._head, self._scroll, self.open_button, self.save_label):
            part.setVisible(is_open)

    def update_actions(self, editable: bool, images: int, is_part: bool, undone: str, redone: str) -> None:
        """Enable the buttons, with the reason as tooltip where disabled."""
        for button, what, key in ((self.undo_button, undone, UNDO_KEY), (self.redo_button, redone, REDO_KEY)):
            name = button.accessibleName()
            button.setEnabled(editable and bool(what))
            button.setToolTip(f"{name}: {what} ({key})" if what else f"Nothing to {name.lower()} ({key})")
        for button in (self.add_lesion_button, self.add_image_button):
            button.setEnabled(editable)
        self.remove_button.setEnabled(editable and is_part)
        self.open_button.setEnabled(images > 0)
        self.open_button.setText("Open image" if images < 2 else f"Open {images} images")
        tip = f"Open it in the viewer with its mask ({OPEN_KEY}; Enter or double click on an image)"
        self.open_button.setToolTip(tip if images else "Select an image, or a lesion with images")
        self.tree.editable = editable

    def update_predict_button(self, reason: str) -> None:
        """Enable the button, or show the reason why it is disabled."""
        self.predict_button.setEnabled(not reason)
        tip = "Classify each lesion from all of its images, and compare it with the patient's other lesions"
        self.predict_button.setToolTip(f"{reason}." if reason else tip)


class CaseNotice(QFrame):
    """A sentence with links about the case file, such as a conflict."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.label = named(WrappedLabel(), "case_notice", "Notice")
        self.label.setToolTip("")
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 4, 4)
        column.addWidget(self.label)
        self.hide()

    def set_text(self, text: str) -> None:
        """Show a sentence; hide the notice if it is empty."""
        self.label.setText(text)
        self.setVisible(bool(text))


MAX_RECENT = 5
RECENT_LINK = "recent:"


class CaseWelcome(Welcome):
    """A drop area for the images of one patient."""

    def __init__(self, icons: ThemedIcons) -> None:
        self._recent: list[Path] = []
        super().__init__(icons)
        self.setAccessibleName("Drop the images of one patient here")
        self.setToolTip("A folder, images, a table (CSV) of images, DICOM files, or the folder of a case")

    def set_recent(self, folders: Sequence[Path]) -> None:
        """Set the list of recent cases."""
        self._recent = list(folders)[:MAX_RECENT]
        self._update_text()

    def _update_text(self) -> None:
        """Write the text in the colors of the theme."""
        links = {name: self._icons.link(name, text) for name, text in LINKS.items()}
        recent = "<br>".join(self._icons.link(f"{RECENT_LINK}{path}", path.name) for path in self._recent)
        recent_cases = f"<p>Recent cases:<br>{recent}</p>" if recent else ""
        self._label.setText(
            "<p style='font-size: 14pt'>Drop the images of one patient here,</p>"
            f"<p style='font-size: 11pt'>or {links['folder']}, {links['open']}, {links['new']}, "
            f"or {links['sample']}.</p>"
            "<p>Lesions, sites and modalities are guessed from names, tables and headers, for you to confirm. "
            f"All changes are saved automatically.</p>{recent_cases}"
        )


LINKS = {
    "folder": "choose their folder",
    "open": "open a case",
    "new": "create an empty one",
    "sample": "try the sample",
}
