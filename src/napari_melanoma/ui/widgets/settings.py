"""What the docks remember of a user, and a timer for controls that move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, QSettings, QTimer

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_json

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionOptions

Value = TypeVar("Value")


class DockSettings:
    """Values kept in a file of the user, on every platform alike, each read with a default that always works."""

    def __init__(self) -> None:
        self._store = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-melanoma", "napari-melanoma"
        )

    @property
    def options(self) -> LesionOptions:
        """How photographs without options of their own are analyzed; the defaults where nothing valid was kept."""
        from napari_melanoma.lesion.analysis import LesionOptions

        for key in ("lesion/defaults", "lesion/options"):
            kept = self._store.value(key)
            if kept is not None:
                try:
                    found = LesionOptions.parse(parse_json(str(kept), "the settings"), "the settings")
                except (ValueError, ConfigError):  # kept by another version
                    continue
                # Older versions kept the threshold of whichever photograph was last, for all that came after it.
                return found if key == "lesion/defaults" else LesionOptions(model=found.model, flips=found.flips)
        return LesionOptions()

    @options.setter
    def options(self, options: LesionOptions) -> None:
        self._store.setValue("lesion/defaults", options.model_dump_json())

    @property
    def classifier(self) -> str:
        """Which model says what a lesion may be; empty for none, the usual one until the user has chosen."""
        from napari_melanoma.models.registry import find_default_classifier

        kept = self.get("lesion/classifier", [""])
        if kept != [""]:
            return str(next(iter(kept), ""))
        usual = find_default_classifier()
        return "" if usual is None else usual.name

    @classifier.setter
    def classifier(self, model: str) -> None:
        self.set("lesion/classifier", [model] if model else [])

    @property
    def folder(self) -> Path | None:
        """Where results go; None until the user has chosen, or where that folder is gone."""
        kept = str(self._store.value("folder", "") or "")
        return Path(kept) if kept and Path(kept).is_dir() else None

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._store.setValue("folder", str(folder))

    @property
    def ruler_mm(self) -> float:
        """The length that was last given to the ruler."""
        try:
            return float(str(self._store.value("lesion/ruler_mm", 10.0)))
        except ValueError:
            return 10.0

    @ruler_mm.setter
    def ruler_mm(self, length: float) -> None:
        self._store.setValue("lesion/ruler_mm", length)

    def get(self, key: str, default: Value) -> Value:
        """Read a value of a dock."""
        try:
            value = parse_json(str(self._store.value(key, "null")), "settings")
        except ValueError:
            return default
        return value if isinstance(value, type(default)) else default

    def set(self, key: str, value: object) -> None:
        """Keep a value of a dock."""
        self._store.setValue(key, json.dumps(value))

    def is_section_open(self, section: str, default: bool) -> bool:
        """Say whether a section was left open.

        True where it shall be open.
        """
        return str(self._store.value(f"sections/{section}", default)).lower() == "true"

    def set_section_open(self, section: str, is_open: bool) -> None:
        """Remember whether a section is open."""
        self._store.setValue(f"sections/{section}", "true" if is_open else "false")


DEBOUNCE_MS = 250


class DebounceTimer(QTimer):
    """Fires once, when nothing has started it again for a while."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.setSingleShot(True)
        self.setInterval(DEBOUNCE_MS)

    def flush(self) -> None:
        """Fire at once if it was to fire; a value that moved must not be forgotten, nor reach what comes after."""
        if self.isActive():
            self.stop()
            self.timeout.emit()
