"""Make a data set of tiles from annotated regions: the dialog, and the background job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import expand_user
from napari_melanoma.slides.tile_sets import TileDataOptions, TileReport
from napari_melanoma.ui.widgets.config_form import ConfigForm
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import is_job_running
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.session.open_slide import SessionServices

FORM_FIELDS = ("mpp", "tile_px", "share", "classes", "rest", "readers", "test", "most")
FOLDER_SETTING, OPTIONS_SETTING = "slide/tiles_folder", "slide/tile_options"
MAX_NOTES = 3  # notes about single slides that the status line shows
CUTTING = "Cutting tiles ..."
TRAIN_LINK = "train-tiles"


class TileDataDialog(QDialog):
    """Dialog for the folder and the options of a data set of tiles."""

    options_accepted = Signal(object, object)  # Path of the folder, TileDataOptions

    def __init__(self, services: SessionServices, root: Path) -> None:
        super().__init__(services.window)
        self._settings = services.settings
        named(self, "tile_data_dialog", "Make a data set of tiles").setWindowTitle("Make a data set of tiles")
        self.setToolTip("")
        folder = Path(self._settings.get(FOLDER_SETTING, str(root.parent / "tiles")))
        unused = _find_unused_folder(folder)
        self.folder_field = named(QLineEdit(str(unused)), "tile_data_folder", "Folder of the data set")
        browse = tool_button("tile_data_browse", "Choose the folder", "Choose the folder for the data set", "...")
        self.form = ConfigForm(TileDataOptions, self._settings, services.icons, FORM_FIELDS.__contains__)
        self.form.set_defaults(_parse_options(self._settings.get(OPTIONS_SETTING, dict[str, object]())))
        self._error_label = named(quiet_label(), "tile_data_fault", "Errors in the options")
        self._error_label.setProperty("fault", True)
        self._error_label.hide()
        about = quiet_label("Uses all annotated slides in the results folder; each patient is in one split only.")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        make = buttons.addButton("Make data set", QDialogButtonBox.ButtonRole.AcceptRole)
        make.setObjectName("tile_data_make")
        column = QVBoxLayout(self)
        for widget in (
            about,
            row(QLabel("Data set"), self.folder_field, browse, stretch=1),
            self.form,
            self._error_label,
            buttons,
        ):
            column.addWidget(widget)
        column.addStretch(1)
        self.setMinimumWidth(420)
        browse.clicked.connect(self._on_browse)
        buttons.accepted.connect(self._on_make)
        buttons.rejected.connect(self.reject)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Ignore Return, which users press after typing a number: it must not start the data set."""
        if event is not None and event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    def _on_browse(self) -> None:
        choose_folder(
            self,
            "tile_data_folder_dialog",
            "Folder for the data set",
            Path(self.folder_field.text()).parent,
            lambda folder: self.folder_field.setText(str(_find_unused_folder(folder / "tiles"))),
        )

    def _on_make(self) -> None:
        try:
            options = TileDataOptions.parse(self.form.values(), "the form")
        except ConfigError as error:
            self._error_label.setText(describe_failure(error))
            self._error_label.show()
            return
        folder = expand_user(self.folder_field.text())
        self._settings.set(FOLDER_SETTING, str(folder))
        self._settings.set(OPTIONS_SETTING, options.model_dump(mode="json"))
        self.accept()
        self.options_accepted.emit(folder, options)


def open_data_set_dialog(services: SessionServices, root: Path) -> None:
    """Show the dialog, and make a data set of all annotated slides below ``root`` when it is accepted."""
    dialog = TileDataDialog(services, root)
    dialog.options_accepted.connect(partial(create_data_set, services, root))
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()


def create_data_set(services: SessionServices, root: Path, out: Path, options: TileDataOptions) -> None:
    """Make a data set in the background, unless another one is being made."""
    status, link = services.status, f"{TRAIN_LINK} {out}"
    if is_job_running(status, CUTTING):
        status.show_message("The previous data set is still being made or canceled. Try again soon.")
        return

    def show(report: TileReport) -> None:
        classes = ", ".join(f"{name} {count}" for name, count in report.classes.items() if name)
        notes = [f"{subject}: {note}" for subject, note in (*report.faults, *report.notes)]
        omitted = f" ({len(notes) - MAX_NOTES} more)" if len(notes) > MAX_NOTES else ""
        counts = f"{format_count(report.tiles, 'tile')} of {format_count(report.slides, 'slide')}"
        text = f"{counts}: {classes}. {services.icons.link(link, 'Train on them')}. "
        status.show_message(text + ". ".join(notes[:MAX_NOTES]) + omitted)

    def follow_link(followed: str) -> None:
        if followed == link:
            services.workspace.training.show().select([str(out)], ())

    status.link_activated.connect(follow_link)
    status.run(status, CUTTING, partial(_create_tile_data, root, out, options), show)


def _parse_options(values: dict[str, object]) -> TileDataOptions:
    """Return the stored options; the defaults if this version cannot read them."""
    try:
        return TileDataOptions.parse(dict(values), "the settings")
    except ConfigError:
        return TileDataOptions()


def _find_unused_folder(folder: Path) -> Path:
    """Return a folder that does not exist yet, numbered if necessary."""
    stem, number, unused = folder.name.rstrip("0123456789").rstrip("-") or "tiles", 1, folder
    while unused.exists():
        number += 1
        unused = folder.with_name(f"{stem}-{number}")
    return unused


def _create_tile_data(root: Path, out: Path, options: TileDataOptions, run: RunContext) -> TileReport:
    """Cut tiles from all annotated slides below a folder."""
    from napari_melanoma.slides.regions import find_annotated_slides
    from napari_melanoma.slides.tile_sets import make_tile_data

    region_files = dict(find_annotated_slides(root))  # by slide
    if not region_files:
        raise InputError(f"no annotated slide was found in {root}, or the slides were moved: draw regions first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    results = sorted({path.parent.parent for path in region_files.values()})
    return make_tile_data(list(region_files), results, out, options, run=run)
