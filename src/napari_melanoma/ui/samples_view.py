"""Sample predictions of a run: the photograph, what the model saw in it before, and what it sees now."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.job import Latest, Work
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool
from napari_melanoma.ui.sample_picture import CalmSlider, Picture
from napari_melanoma.ui.samples import BEFORE, Shown, read_sample

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext

NONE_YET = "Sample predictions come with the first epoch."
LEGEND = "yellow: predicted border, cyan: the mask it should find"


class SamplesView(QWidget):
    """Image, before and now side by side; the epoch by a slider, the image by two buttons."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "samples", "Sample predictions").setToolTip("")
        self._run: Path | None = None
        self._epochs: tuple[str, ...] = ()
        self._index = 0
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self.pictures = {
            "image": Picture("sample_photograph", "The photograph"),
            "before": Picture("sample_before", "Prediction before the training"),
            "now": Picture("sample_now", "Prediction at the epoch of the slider"),
        }
        self._captions = {name: QLabel(name) for name in self.pictures}
        self._slider = named(CalmSlider(Qt.Orientation.Horizontal), "sample_epoch", "Epoch", "The epoch that is shown")
        self._slider.setPageStep(1)
        self._slider.valueChanged.connect(self._ask)
        self._previous = tool("sample_previous", "Previous image")
        self._next = tool("sample_next", "Next image")
        self._which = named(quiet(), "sample_name", "Which image")
        for button, by, icon in ((self._previous, -1, "left_arrow"), (self._next, 1, "right_arrow")):
            button.clicked.connect(partial(self.step, by))
            icons.add(button, icon)
        self._lay_out()
        self.show_samples(None, ())

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return self._latest.busy

    def show_samples(self, run: Path | None, epochs: tuple[str, ...]) -> None:
        """Show a run's samples; the newest epoch, unless the user has moved the slider away from it."""
        if (run, epochs) == (self._run, self._epochs) and run is not None:
            return
        at_newest = run != self._run or self._slider.value() == self._slider.maximum()
        if run != self._run:
            self._index = 0
            self._show(Shown())
        self._run, self._epochs = run, epochs
        count = len(self._after_start)
        self._slider.blockSignals(True)
        self._slider.setRange(1, max(1, count))
        if at_newest:
            self._slider.setValue(count)
        self._slider.blockSignals(False)
        self._slider.setEnabled(count > 1)
        self._page.setVisible(bool(epochs))
        self._empty.setVisible(not epochs)
        self._ask()

    def refresh(self) -> None:
        """Read the pictures again: a folder is there before the last of them."""
        self._ask()

    def step(self, by: int, checked: bool = False) -> None:
        """Show another image."""
        self._index += by
        self._ask()

    @property
    def _after_start(self) -> tuple[str, ...]:
        return tuple(name for name in self._epochs if name != BEFORE)

    def _ask(self, value: int = 0) -> None:
        if self._run is not None and self._epochs:
            self._latest.submit("sample", self._prepare)

    def _prepare(self) -> Work | None:
        if self._run is None or not self._epochs:
            return None
        after = self._after_start
        epoch = after[self._slider.value() - 1] if after else BEFORE
        return partial(_read, self._run, epoch, self._index)

    def _on_read(self, found: tuple[Path, str, Shown]) -> None:
        run, epoch, shown = found
        if run == self._run:
            self._show(shown, epoch)

    def _show(self, shown: Shown, epoch: str = BEFORE) -> None:
        seen = shown.photograph or shown.now or shown.before
        shape = seen.height() / seen.width() if seen is not None else 0.75
        self.pictures["image"].show_image(shown.photograph, shape)
        self.pictures["before"].show_image(shown.before, shape, shown.before_path)
        self.pictures["now"].show_image(shown.now, shape, shown.now_path)
        self._captions["now"].setText(said_epoch(epoch))
        many = len(shown.names) > 1
        for button in (self._previous, self._next):
            button.setEnabled(many)
        if shown.names:
            number = shown.names.index(shown.name) + 1
            self._which.setText(f"{shown.name}  ({number} of {len(shown.names)})")

    def _lay_out(self) -> None:
        self._empty = quiet(NONE_YET)
        self._page = QWidget()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for column, (name, picture) in enumerate(self.pictures.items()):
            grid.addWidget(self._captions[name], 0, column)
            grid.addWidget(picture, 1, column)
            grid.setColumnStretch(column, 1)
        page = QVBoxLayout(self._page)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(4)
        page.addLayout(grid)
        page.addWidget(row(QLabel("epoch"), self._slider, stretch=1))
        page.addWidget(row(self._previous, self._next, self._which, stretch=2))
        page.addWidget(quiet(LEGEND))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._empty)
        layout.addWidget(self._page)


def said_epoch(folder: str) -> str:
    """Say which epoch a folder of samples is of."""
    number = folder.rpartition("-")[2]
    return f"epoch {int(number)}" if number.isdigit() else "now"


def _read(run: Path, epoch: str, index: int, context: RunContext) -> tuple[Path, str, Shown]:
    return run, epoch, read_sample(run, epoch, index)
