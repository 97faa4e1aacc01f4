"""The settings of the docks, and a timer that delays reactions to moving controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, QSettings, QTimer

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari_melanoma.lesion.options import LesionOptions

Value = TypeVar("Value")
DEBOUNCE_MS = 250
READER_SETTING, SLIDE_RESULTS_SETTING = "slide/region_reader", "slide/folder"


def get_user_folder(name: str) -> Path:
    """Return a folder of the user's own data."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / name


class DockSettings:
    """User settings in an INI file on every platform; reading falls back to defaults."""

    def __init__(self) -> None:
        self._store = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-melanoma", "napari-melanoma"
        )

    @property
    def options(self) -> LesionOptions:
        """The analysis options of photographs without options of their own; the defaults if none are stored."""
        from napari_melanoma.lesion.options import LesionOptions

        try:
            return LesionOptions.parse(self.get("lesion/defaults", dict[str, object]()), "the settings")
        except ConfigError:  # written by another version
            return LesionOptions()

    @options.setter
    def options(self, options: LesionOptions) -> None:
        self._store.setValue("lesion/defaults", options.model_dump_json())

    @property
    def classifier(self) -> str:
        """The classification model; empty for none, ``auto`` until the user has selected one."""
        from napari_melanoma.models import AUTOMATIC

        stored = self.get("lesion/classifier", [""])
        return AUTOMATIC if stored == [""] else str(next(iter(stored), ""))

    @classifier.setter
    def classifier(self, model: str) -> None:
        self.set("lesion/classifier", [model] if model else [])

    @property
    def folder(self) -> Path | None:
        """The folder for results; None until the user has selected one, or if it no longer exists."""
        stored = str(self._store.value("folder", "") or "")
        return Path(stored) if stored and Path(stored).is_dir() else None

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._store.setValue("folder", str(folder))

    @property
    def slide_results(self) -> Path:
        """The folder for the results of slides: that which the user has selected if it exists, else the default."""
        selected = self.get(SLIDE_RESULTS_SETTING, "")
        return Path(selected) if selected and Path(selected).is_dir() else get_user_folder("slides")

    @slide_results.setter
    def slide_results(self, folder: Path) -> None:
        self.set(SLIDE_RESULTS_SETTING, str(folder))
        user_data().slide_results_changed.emit(folder)

    @property
    def reader(self) -> str:
        """Name of the person at this machine, for readings, regions and reports; empty if not given."""
        return self.get(READER_SETTING, "")

    @reader.setter
    def reader(self, name: str) -> None:
        name = " ".join(name.split())
        self.set(READER_SETTING, name)
        user_data().reader_changed.emit(name)

    @property
    def ruler_mm(self) -> float:
        """The last length entered for the ruler."""
        return self.get("lesion/ruler_mm", 10.0)

    @ruler_mm.setter
    def ruler_mm(self, length: float) -> None:
        self.set("lesion/ruler_mm", float(length))

    def get(self, key: str, default: Value) -> Value:
        """Read a value; the default if it is missing or of another type."""
        try:
            value = parse_json(str(self._store.value(key, "null")), "settings")
        except ValueError:
            return default
        return value if isinstance(value, type(default)) else default

    def set(self, key: str, value: object) -> None:
        """Store a value as JSON."""
        self._store.setValue(key, json.dumps(value))

    def is_section_open(self, section: str, default: bool) -> bool:
        return str(self._store.value(f"sections/{section}", default)).lower() == "true"

    def set_section_open(self, section: str, is_open: bool) -> None:
        self._store.setValue(f"sections/{section}", "true" if is_open else "false")


class DebounceTimer(QTimer):
    """A single-shot timer that is restarted by each change; it is registered as a task while it is active."""

    def __init__(self, parent: QObject, interval_ms: int | None = None) -> None:
        super().__init__(parent)
        self.setSingleShot(True)
        self.setInterval(DEBOUNCE_MS if interval_ms is None else interval_ms)
        self.timeout.connect(self._update_registry)

    def start(self) -> None:
        """Start, or restart."""
        super().start()
        self._update_registry()

    def stop(self) -> None:
        """Stop without firing."""
        super().stop()
        self._update_registry()

    def _update_registry(self) -> None:
        tasks.set_running(self, self.isActive())

    def flush(self) -> None:
        """Fire at once if active, so that a pending change is neither lost nor applied to the next image."""
        if self.isActive():
            self.stop()
            self.timeout.emit()
