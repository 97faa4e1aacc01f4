"""The foot of a dock: one sentence, a progress bar with Cancel for what takes longer, and what this is not for."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.core.runs import Progress
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool

SHOWN_AFTER_MS = 200


class StatusLine(QWidget):
    """Says what is done and what was done; keeps its height, so that nothing jumps.

    Parameters
    ----------
    icons : ThemedIcons
        Gives the icon of Cancel.

    Attributes
    ----------
    cancelled : Signal()
        The user pressed Cancel.
    followed : Signal(str)
        The user clicked a link in the sentence.
    """

    cancelled = Signal()
    followed = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._sentence = named(QLabel(), "status", "Status")
        self._sentence.setWordWrap(True)
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._sentence.linkActivated.connect(self.followed)
        self._bar = named(QProgressBar(), "progress", "Progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._cancel = tool("cancel", "Cancel", "Cancel (what is finished stays)")
        self._cancel.clicked.connect(self.cancelled)
        icons.add(self._cancel, "playback-stop")
        self._running = row(self._bar, self._cancel, stretch=0)
        policy = self._running.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._running.setSizePolicy(policy)
        self._running.hide()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOWN_AFTER_MS)
        self._timer.timeout.connect(self._running.show)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._sentence)
        layout.addWidget(self._running)
        layout.addWidget(named(quiet("Research use only. Not for diagnosis."), "notice_of_use", "Research use only"))

    @property
    def text(self) -> str:
        """The sentence as it is."""
        return str(self._sentence.text())

    def say(self, sentence: str) -> None:
        """Show a sentence.

        Parameters
        ----------
        sentence : str
            Plain text, or rich text with links.
        """
        self._sentence.setText(sentence)

    def begin(self, sentence: str) -> None:
        """Show that something runs; the bar comes if it takes a moment.

        Parameters
        ----------
        sentence : str
            What is being done.
        """
        self.say(sentence)
        self._bar.setRange(0, 0)
        self._timer.start()

    def progress(self, progress: Progress) -> None:
        """Show how far it is.

        Parameters
        ----------
        progress : Progress
            As a job reports it.
        """
        self.say(f"{progress.message} ...")
        total = progress.total or 0
        self._bar.setRange(0, total if total > 1 else 0)
        self._bar.setValue(progress.done)

    def end(self, sentence: str | None = None) -> None:
        """Hide the bar.

        Parameters
        ----------
        sentence : str, optional
            What was done; what was said last stays by default.
        """
        self._timer.stop()
        self._running.hide()
        if sentence is not None:
            self.say(sentence)
