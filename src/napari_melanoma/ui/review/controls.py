"""The controls of the Review dock in their places; nothing is started here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.io.finding import SUFFIXES
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.review.list import PICTURE_PX, ReviewList, ReviewView
from napari_melanoma.ui.viewer.docking import Docking
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.look import Connections, ThemedIcons, form, named, quiet, row, tool
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.pictures import Pictures
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.welcome import FileDrops, Welcome

if TYPE_CHECKING:
    from napari.viewer import Viewer

NEXT_KEY, PREVIOUS_KEY, ACCEPT_KEY, REJECT_KEY = (
    shown_key(f"review.{name}") for name in ("next", "previous", "accept", "reject")
)
HOWS = {
    "entropy": ("one look", "How unsure the model is of the pixels; quick"),
    "disagreement": ("eight flips", "How much its masks differ when the photograph is flipped and turned; slower"),
}


class FolderWelcome(Welcome):
    """An area for a folder, where the dock is empty."""

    def _say(self) -> None:
        choose = self._icons.link("choose", "choose one")
        masks = self._icons.link("import", "bring in masks made elsewhere")
        self._words.setText(
            "<p style='font-size: 14pt'>Drop a folder of photographs here,</p>"
            f"<p style='font-size: 11pt'>or {choose}.</p>"
            "<p>It is searched with its subfolders; of photographs that you drop, those alone are taken. "
            "The ones that the model is least sure of come first: "
            f"correcting those helps it most.</p><p>You can also {masks}.</p>"
        )


class ReviewControls(QWidget):
    """What a user sees of the Review dock."""

    chosen = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "review_dock", "Review")
        self.setToolTip("")
        self.settings = ReviewSettings()
        self.connections = Connections()
        Docking(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = FolderWelcome(self.icons)
        self.welcome.setObjectName("welcome")
        self.model = ModelPicker(self.icons)
        self.pictures = Pictures(2 * PICTURE_PX, self)
        self.list = ReviewList(self.pictures.find, self)
        self.folder = quiet()
        self.folder.setObjectName("review_folder")
        self.choose = tool("choose_folder", "Choose a folder", "Choose another folder of photographs", "folder ...")
        self.masks = tool(
            "import_masks", "Import masks", "Bring masks made elsewhere into the corrections", "import masks ..."
        )
        self.how = named(QComboBox(), "how", "How to rate", "How the model is asked how unsure it is")
        for how, (words, tip) in HOWS.items():
            self.how.addItem(words, how)
            self.how.setItemData(self.how.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.rate = named(QPushButton("Rate"), "primary", "Rate")
        self.filter = named(QComboBox(), "filter", "Which to show", "Show what is to do, or all")
        self.filter.addItems(["to do", "all"])
        self.count = quiet()
        self.count.setObjectName("counts")
        self.view = ReviewView(self.list, self.icons)
        self.previous = tool("previous", "Previous", f"Previous photograph ({PREVIOUS_KEY})")
        self.next = tool("next", "Next", f"Next photograph: the next most unsure ({NEXT_KEY})")
        self.accept = named(QPushButton("Accept"), "accept", "Accept")
        self.reject = named(QPushButton("Reject"), "reject_photograph", "Reject")
        self.status = StatusLine(self.icons)
        self.icons.add(self.previous, "up_arrow")
        self.icons.add(self.next, "down_arrow")
        self.choose.clicked.connect(self.ask_folder)
        self._lay_out()
        self.drops = FileDrops(self)
        for area in (self.welcome, self.drops):
            area.dropped.connect(self._on_dropped)
        self.icons.apply()

    def ask_folder(self) -> None:
        """Let the user choose a folder."""
        dialog = QFileDialog(self.window(), "Folder of photographs", str(self.settings.review_folder or Path.home()))
        dialog.setObjectName("review_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self.chosen.emit([Path(name)])

    def _on_dropped(self, paths: list[Path]) -> None:
        """Take folders with their subfolders, and photographs alone: never more than what was dropped."""
        usable = [path for path in paths if path.is_dir() or path.suffix.lower() in SUFFIXES]
        if usable:
            self.chosen.emit(usable)
        else:
            self.status.say(f"{paths[0].name} is no photograph. Drop a folder of photographs, or some of them.")

    def show_state(self, folder: str, running: bool, unrated: int) -> None:
        """Show what can be done now, and why not where it cannot."""
        self.welcome.setVisible(not folder)
        self._work.setVisible(bool(folder))
        self.folder.setText(folder)
        self.rate.setEnabled(bool(folder) and not running and unrated > 0)
        self.rate.setText(f"Rate {unrated:,} photographs" if unrated != 1 else "Rate 1 photograph")
        why = "Photographs are being rated." if running else "Every photograph is rated."
        self.rate.setToolTip("Ask the model how unsure it is of each" if self.rate.isEnabled() else why)
        self.rate.setVisible(unrated > 0)

    def show_counts(self) -> None:
        """Say how many there are and what was said of them."""
        counts = self.list.items.counts()
        done = {state: count for state, count in counts.items() if count and state != "to do"}
        said = ", ".join(f"{count:,} {state}" for state, count in done.items())
        self.count.setText(f"{counts['to do']:,} to do" + (f"; {said}" if said else ""))

    def show_actions(self, chosen: bool, ready: bool) -> None:
        """Show what can be said of the photograph in view."""
        self.accept.setEnabled(ready)
        tip = f"Store the photograph with its mask as it is now, and go on ({ACCEPT_KEY})"
        self.accept.setToolTip(tip if ready else "The photograph in view has no mask yet")
        self.reject.setEnabled(chosen)
        tip = f"Store that this photograph is of no use, and go on ({REJECT_KEY})"
        self.reject.setToolTip(tip if chosen else "Choose a photograph from the list")
        for button in (self.previous, self.next):
            button.setEnabled(self.list.rowCount() > 0)

    def _lay_out(self) -> None:
        self._work = QWidget()
        column = QVBoxLayout(self._work)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        head = QWidget()
        rows = form(head)
        rows.addRow(row(self.folder, self.choose, stretch=0))
        rows.addRow("model", self.model)
        rows.addRow("by", row(self.how, self.masks, stretch=0))
        column.addWidget(head)
        column.addWidget(self.rate)
        column.addWidget(row(QLabel("show"), self.filter, self.count, stretch=2))
        column.addWidget(self.view, 1)
        column.addWidget(row(self.previous, self.next, self.accept, self.reject, stretch=2))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.setSpacing(4)
        whole.addWidget(self.welcome)
        whole.addWidget(self._work, 1)
        whole.addStretch(0)
        whole.addWidget(self.status)
        self.status.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
