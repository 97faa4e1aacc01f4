"""What a run did otherwise than it was told, or what to know of its result: every notice, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QToolButton, QVBoxLayout

from napari_melanoma.ui.look import named, quiet, tool

if TYPE_CHECKING:
    from napari_melanoma.ui.settings import Settings

SECTION = "run_notices"


class RunNotices(QFrame):
    """Shows the notices of a run; the newest always, the earlier ones unless they are folded away."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        named(self, "notice", "Notices of the run").setToolTip("")
        self._settings = settings
        self._said: list[str] = []
        self._open = settings.is_open(SECTION, True)
        self._newest = named(quiet(), "run_notice", "Newest notice of the run")
        self._earlier = named(quiet(), "run_notices_earlier", "Earlier notices of the run")
        for label in (self._newest, self._earlier):
            label.setToolTip("")
        self._fold: QToolButton = tool("run_notices_fold", "Show or hide the earlier notices", text=" ")
        self._fold.clicked.connect(self._on_fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        for widget in (self._newest, self._fold, self._earlier):
            layout.addWidget(widget)
        self._show()

    def add(self, words: str) -> None:
        """Take a notice; one that was said before is the newest again."""
        first = words.split(" ")[0]
        is_name = any(letter.isdigit() or letter == "_" for letter in first)  # such as batch_size
        said = words if is_name else f"{words[:1].upper()}{words[1:]}"
        if said:
            self._said = [said, *(other for other in self._said if other != said)]
            self._show()

    def clear(self) -> None:
        """Forget all of them: another run is shown, or the same one from its beginning."""
        self._said = []
        self._show()

    def _on_fold(self) -> None:
        self._open = not self._open
        self._settings.set_open(SECTION, self._open)
        self._show()

    def _show(self) -> None:
        newest, earlier = self._said[:1], self._said[1:]
        self._newest.setText("".join(newest))
        self._earlier.setText("\n".join(f"• {said}" for said in earlier))
        self._earlier.setVisible(self._open and bool(earlier))
        self._fold.setText(f"Hide {len(earlier)} earlier" if self._open else f"Show {len(earlier)} earlier")
        self._fold.setVisible(bool(earlier))
        self.setVisible(bool(newest))
