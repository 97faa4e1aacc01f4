"""The controls and layout of the Review dock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.review.list_model import PICTURE_PX, ReviewListModel, ReviewListView
from napari_melanoma.ui.viewer.docking import DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons, form_layout, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ThumbnailLoader
from napari_melanoma.ui.widgets.welcome import FileDropHandler, Welcome

if TYPE_CHECKING:
    from napari.viewer import Viewer

NEXT_KEY, PREVIOUS_KEY, ACCEPT_KEY, REJECT_KEY = (
    format_key(f"review.{name}") for name in ("next", "previous", "accept", "reject")
)
RATING_METHODS = {
    "entropy": ("pixel entropy", "Uncertainty of the predicted pixels. Fast."),
    "disagreement": ("flip disagreement", "Disagreement of the masks of eight flipped and rotated copies. Slower."),
}


class FolderWelcome(Welcome):
    """The start page of the Review dock: a drop area for a folder."""

    def _update_text(self) -> None:
        choose = self._icons.link("choose", "select one")
        masks = self._icons.link("import", "import existing masks")
        self._label.setText(
            "<p style='font-size: 14pt'>Drop a folder of photographs here,</p>"
            f"<p style='font-size: 11pt'>or {choose}.</p>"
            "<p>Subfolders are included. If you drop photographs, only these are reviewed. "
            "Photographs with the most uncertain predictions are listed first: "
            f"correcting these improves the model most.</p><p>You can also {masks}.</p>"
        )


class ReviewControls(QWidget):
    """The widgets of the Review dock, without the logic behind them."""

    photographs_chosen = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "review_dock", "Review")
        self.setToolTip("")
        self.settings = ReviewSettings()
        self.connections = Connections()
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = FolderWelcome(self.icons)
        self.welcome.setObjectName("welcome")
        self.model = ModelPicker(self.icons)
        self.thumbnails = ThumbnailLoader(2 * PICTURE_PX, self)
        self.list_model = ReviewListModel(self.thumbnails.get, self)
        self.folder_label = quiet_label()
        self.folder_label.setObjectName("review_folder")
        self.folder_button = tool_button(
            "choose_folder", "Select a folder", "Select another folder of photographs", "folder ..."
        )
        self.import_button = tool_button(
            "import_masks", "Import masks", "Import masks from other software into the corrections", "import masks ..."
        )
        self.method_combo = named(QComboBox(), "how", "Uncertainty measure", "Uncertainty measure")
        for method, (title, tip) in RATING_METHODS.items():
            self.method_combo.addItem(title, method)
            self.method_combo.setItemData(self.method_combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.rate_button = named(QPushButton("Rate"), "primary", "Rate")
        self.filter_combo = named(QComboBox(), "filter", "Filter", "Show unreviewed or all photographs")
        self.filter_combo.addItems(["to do", "all"])
        self.count_label = quiet_label()
        self.count_label.setObjectName("counts")
        self.list_view = ReviewListView(self.list_model, self.icons)
        self.previous_button = tool_button("previous", "Previous", f"Previous photograph ({PREVIOUS_KEY})")
        self.next_button = tool_button("next", "Next", f"Next photograph ({NEXT_KEY})")
        self.accept_button = named(QPushButton("Accept"), "accept", "Accept")
        self.reject_button = named(QPushButton("Reject"), "reject_photograph", "Reject")
        self.status = StatusLine(self.icons)
        self.icons.add(self.previous_button, "up_arrow")
        self.icons.add(self.next_button, "down_arrow")
        self.folder_button.clicked.connect(self.choose_folder)
        self._lay_out()
        self.file_drops = FileDropHandler(self)
        for area in (self.welcome, self.file_drops):
            area.dropped.connect(self._on_dropped)
        self.icons.apply()

    def choose_folder(self) -> None:
        """Show the folder dialog."""
        dialog = QFileDialog(self.window(), "Folder of photographs", str(self.settings.review_folder or Path.home()))
        dialog.setObjectName("review_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self.photographs_chosen.emit([Path(name)])

    def _on_dropped(self, paths: list[Path]) -> None:
        """Review the dropped folders, with subfolders, and photographs."""
        usable = [path for path in paths if path.is_dir() or path.suffix.lower() in SUFFIXES]
        if usable:
            self.photographs_chosen.emit(usable)
        else:
            self.status.show_message(
                f"{paths[0].name} is not a photograph. Drop a folder of photographs, or photographs."
            )

    def show_state(self, folder: str, running: bool, unrated: int) -> None:
        """Enable the controls that can be used, and explain the others in their tooltips."""
        self.welcome.setVisible(not folder)
        self._work_area.setVisible(bool(folder))
        self.folder_label.setText(folder)
        self.rate_button.setEnabled(bool(folder) and not running and unrated > 0)
        self.rate_button.setText(f"Rate {unrated:,} photographs" if unrated != 1 else "Rate 1 photograph")
        reason = "Photographs are being rated." if running else "All photographs are rated."
        tip = "Compute the uncertainty of the prediction for each photograph"
        self.rate_button.setToolTip(tip if self.rate_button.isEnabled() else reason)
        self.rate_button.setVisible(unrated > 0)

    def show_counts(self) -> None:
        """Show the number of photographs in each review state."""
        counts = self.list_model.items.counts()
        done = {state: count for state, count in counts.items() if count and state != "to do"}
        reviewed = ", ".join(f"{count:,} {state}" for state, count in done.items())
        self.count_label.setText(f"{counts['to do']:,} to do" + (f"; {reviewed}" if reviewed else ""))

    def show_actions(self, has_photograph: bool, can_accept: bool) -> None:
        """Enable the review buttons for the photograph in view."""
        self.accept_button.setEnabled(can_accept)
        tip = f"Store the photograph with its current mask, and go to the next ({ACCEPT_KEY})"
        self.accept_button.setToolTip(tip if can_accept else "The photograph has no mask yet")
        self.reject_button.setEnabled(has_photograph)
        tip = f"Store the photograph as rejected, and go to the next ({REJECT_KEY})"
        self.reject_button.setToolTip(tip if has_photograph else "Select a photograph in the list")
        for button in (self.previous_button, self.next_button):
            button.setEnabled(self.list_model.rowCount() > 0)

    def _lay_out(self) -> None:
        self._work_area = QWidget()
        column = QVBoxLayout(self._work_area)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        head = QWidget()
        rows = form_layout(head)
        rows.addRow(row(self.folder_label, self.folder_button, stretch=0))
        rows.addRow("model", self.model)
        rows.addRow("measure", row(self.method_combo, self.import_button, stretch=0))
        column.addWidget(head)
        column.addWidget(self.rate_button)
        column.addWidget(row(QLabel("show"), self.filter_combo, self.count_label, stretch=2))
        column.addWidget(self.list_view, 1)
        column.addWidget(row(self.previous_button, self.next_button, self.accept_button, self.reject_button, stretch=2))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.setSpacing(4)
        whole.addWidget(self.welcome)
        whole.addWidget(self._work_area, 1)
        whole.addStretch(0)
        whole.addWidget(self.status)
        self.status.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
