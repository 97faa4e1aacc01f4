"""Offers corrections that a crash left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.ui.look import named, quiet, row

if TYPE_CHECKING:
    from napari_melanoma.ui.recovery import Recovered


class RecoveryNotice(QFrame):
    """One sentence and two buttons, shown where there is something to bring back."""

    accepted = Signal(str, object)
    discarded = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._offers: dict[str, Recovered] = {}
        self._identity: str | None = None
        self._words = quiet()
        bring = named(QPushButton("Bring back"), "recover", "Bring back", "Show the mask as you drew it")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Remove what was kept")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._words)
        layout.addWidget(row(bring, discard))
        bring.clicked.connect(self._on_bring)
        discard.clicked.connect(self._on_discard)
        self.hide()

    def offer(self, identity: str, found: Recovered) -> None:
        """Keep an offer until the dock is about its photograph."""
        self._offers[identity] = found
        self.set_photograph(self._identity)

    def withdraw(self, identity: str) -> None:
        """Let go of an offer without an answer; it is made again when the photograph is opened again."""
        self._offers.pop(identity, None)
        self.set_photograph(self._identity)

    def set_photograph(self, identity: str | None) -> None:
        """Show the offer of a photograph, if there is one."""
        self._identity = identity
        found = None if identity is None else self._offers.get(identity)
        if found is not None:
            when = ago(time.time() - found.saved_at)
            self._words.setText(f"You corrected this photograph {when} and did not save it.")
        self.setVisible(found is not None)

    def _on_bring(self) -> None:
        self._answer(self.accepted)

    def _on_discard(self) -> None:
        self._answer(self.discarded)

    def _answer(self, signal: object) -> None:
        identity = self._identity
        found = None if identity is None else self._offers.pop(identity, None)
        self.set_photograph(identity)
        if found is not None:
            signal.emit(identity, found)  # type: ignore[attr-defined]


def ago(seconds: float) -> str:
    """Say a time span as people do."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "a moment ago"
