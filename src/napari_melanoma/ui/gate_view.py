"""The gate after a run: old and new model side by side, the advice with its reason, and the user's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui.close_guard import answer, ask
from napari_melanoma.ui.forest import Forest
from napari_melanoma.ui.gate_words import (
    ADVICE,
    METRICS,
    NO_ADVICE,
    changes_of,
    said_choice,
    said_counts,
    said_ends,
    said_heading,
    said_mean,
    said_missing,
)
from napari_melanoma.ui.look import ThemedIcons, named, quiet
from napari_melanoma.ui.thumbnails import Thumbnail, Thumbnails

if TYPE_CHECKING:
    from napari_melanoma.workflows.comparison import Comparison, ImageChange
    from napari_melanoma.workflows.runs import RunReport

MARKS = (("old", "#d648a0", "#d648a0"), ("new", "#ffdd00", "#b39700"), ("the mask to be found", "#5cdbf0", "#1897ad"))
ASKING = {"take over": "Taking over ...", "discard": "Discarding ..."}


class GateView(QWidget):
    """Shows what the comparison after a run found, and takes the user's choice."""

    take_over = Signal(object)
    discard = Signal(object)
    open_image = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "gate", "New model against old").setToolTip("")
        self._icons = icons
        self._report: RunReport | None = None
        self._asked = self._shown = ""
        self._title = named(QLabel(), "gate_title", "Which models")
        self._advice = named(QLabel(), "gate_advice", "Advice")
        self._reason = named(QLabel(), "gate_reason", "Reason of the advice")
        self._counts = named(quiet(), "gate_counts", "What was compared")
        self._done = named(QLabel(), "gate_done", "What was chosen")
        for label in (self._title, self._advice, self._reason, self._counts, self._done):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setToolTip("")
        self._advice.setWordWrap(False)
        for label in (self._title, self._advice):
            font = label.font()
            font.setBold(True)
            label.setFont(font)
        self._figures = _Figures()
        self._forest = Forest(icons)
        self._legend = quiet()
        self._headings = {name: QLabel() for name in ("better", "worse")}
        self.images = {
            "better": Thumbnails("gate_better", "Images that got better", icons),
            "worse": Thumbnails("gate_worse", "Images that got worse", icons),
        }
        self.take = named(QPushButton("Take over"), "gate_take_over", "Take over")
        self.drop = named(QPushButton("Discard"), "gate_discard", "Discard")
        self._lay_out()
        self.take.clicked.connect(self._on_take)
        self.drop.clicked.connect(self._on_drop)
        for images in self.images.values():
            images.opened.connect(self.open_image)
        icons.changed.connect(self._on_theme)
        self._on_theme()
        self.show_comparison(None)

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return any(images.busy for images in self.images.values())

    def show_comparison(self, report: RunReport | None) -> None:
        """Show what was found after a run; hidden where there is no new model."""
        before, self._report = self._report, report
        self.setVisible(report is not None and report.bundle is not None)
        if report is None or report.bundle is None:
            self._asked = ""
            return
        same = before is not None and before.path == report.path
        if not same or report.adopted or report.discarded:
            self._asked = ""
        found = repr(report.comparison)  # a comparison with not-a-number in it is not equal to itself
        if found != self._shown:
            self._shown = found
            self._show_found(report.comparison)
        if report.comparison is None:
            self._reason.setText(said_missing(report))
        self._show_choice(report)

    def choice_failed(self) -> None:
        """Let the user choose again, where a choice could not be carried out."""
        self._asked = ""
        if self._report is not None:
            self._show_choice(self._report)

    def _show_found(self, found: Comparison | None) -> None:
        """Show all that was compared."""
        for widget in (self._figures, self._forest, self._compared, self._counts):
            widget.setVisible(found is not None)
        if found is None:
            self._title.setText("New model")
            self._advice.setText(NO_ADVICE)
            return
        self._title.setText(f"{found.new.name} (new) against {found.old.name} (old)")
        self._figures.show_comparison(found)
        self._counts.setText(said_counts(found))
        self._counts.setToolTip("\n".join(f"{name}: {error}" for name, error in found.failed))
        self._advice.setText(ADVICE[found.advice])
        self._reason.setText(found.reason)
        self._forest.show_changes(changes_of(found))
        for name, changes in (("better", found.better), ("worse", found.worse)):
            self._headings[name].setText(said_heading(name, len(changes)))
            self.images[name].show_items([_thumbnail(change) for change in changes])
        self._compared.setVisible(found.task == "segmentation")  # classes have no contours to lay over each other
        self._legend.setVisible(bool(found.better or found.worse))

    def _show_choice(self, report: RunReport) -> None:
        """Show what can be chosen, and what was."""
        taken, waiting = report.adopted is not None, bool(self._asked)
        for button, possible, does, why in (
            (self.take, not taken, "Put the new model into the list of models; the old one stays there", "Taken over"),
            (
                self.drop,
                not taken and not report.discarded,
                "Do not use the new model; it stays in the run folder, and can be taken over later",
                "It was taken over" if taken else "It was discarded",
            ),
        ):
            button.setEnabled(possible and not waiting)
            button.setToolTip(ASKING[self._asked] if waiting else does if possible else why)
        self._done.setText(ASKING[self._asked] if waiting else said_choice(report))
        self._done.setVisible(bool(self._done.text()))

    def _choose(self, choice: str, signal: object) -> None:
        if self._report is not None and not self._asked:
            self._asked = choice
            self._show_choice(self._report)
            signal.emit(self._report.path)  # type: ignore[attr-defined]

    def _on_take(self) -> None:
        if self._report is not None and not self._asked and self._may_take(self._report):
            self._choose("take over", self.take_over)

    def _may_take(self, report: RunReport) -> bool:
        """Ask first, where the model was discarded before or the advice is to keep the old one."""
        from napari_melanoma.workflows.adoption import objection

        against = objection(report.comparison, discarded=report.discarded)
        if not against:
            return True
        box = ask(self, "take_over_anyway", "Use this model anyway?", against, "Train")
        use = box.addButton("Use it anyway", QMessageBox.ButtonRole.DestructiveRole)
        use.setObjectName("take_over_anyway_yes")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        return answer(box) is use

    def _on_drop(self) -> None:
        self._choose("discard", self.discard)

    def _on_theme(self) -> None:
        dark = self._icons.palette.dark
        marks = (
            f"<span style='color: {on_dark if dark else on_light}'>━</span> {name}" for name, on_dark, on_light in MARKS
        )
        self._legend.setText(" &nbsp; ".join(marks))

    def _lay_out(self) -> None:
        self._compared = QWidget()
        compared = _column(self._compared)
        for name, images in self.images.items():
            compared.addWidget(self._headings[name])
            compared.addWidget(images)
        compared.addWidget(self._legend)
        self._choice = QWidget()
        choice = QHBoxLayout(self._choice)
        choice.setContentsMargins(0, 0, 0, 0)
        for button in (self.take, self.drop):  # equally wide: neither is the one to press
            choice.addWidget(button, 1)
        layout = _column(self)
        for widget in (
            self._title,
            self._figures,
            self._counts,
            self._advice,
            self._reason,
            self._forest,
            self._compared,
            self._choice,
            self._done,
        ):
            layout.addWidget(widget)


class _Figures(QWidget):
    """Old, new and difference of each metric, each with its interval below."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "gate_figures", "Old and new in figures").setToolTip("")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(1)
        for column, title in enumerate(("", "old", "new", "difference")):
            grid.addWidget(quiet(title), 0, column)
            grid.setColumnStretch(column, int(column > 0))
        self._values: dict[tuple[str, str], tuple[QLabel, QLabel]] = {}
        titles = [(metric, title) for metrics in METRICS.values() for metric, title in metrics.items()]
        self._rows: dict[str, list[QLabel]] = {}
        for number, (metric, title) in enumerate(titles):
            name = named(QLabel(metric), f"gate_{metric}", title)
            grid.addWidget(name, 2 * number + 1, 0)
            self._rows[metric] = [name]
            for column, which in enumerate(("old", "new", "difference"), start=1):
                value, interval = QLabel(), quiet()
                value.setObjectName(f"gate_{which}_{metric}")
                interval.setObjectName(f"gate_{which}_{metric}_interval")
                interval.setStyleSheet(
                    "font-size: 8pt; padding: 0px 0px 0px 2px"
                )  # a font set otherwise gives way to napari's style
                self._values[metric, which] = value, interval
                self._rows[metric] += value, interval
                grid.addWidget(value, 2 * number + 1, column)
                grid.addWidget(interval, 2 * number + 2, column)

    def show_comparison(self, found: Comparison) -> None:
        """Show the figures of a comparison, those of its task alone."""
        for metric, labels in self._rows.items():
            for label in labels:
                label.setVisible(metric in METRICS[found.task])
        for metric in METRICS[found.task]:
            for which, values in (
                ("old", found.old.metrics),
                ("new", found.new.metrics),
                ("difference", found.difference),
            ):
                value, interval = self._values[metric, which]
                estimate = values.get(metric)
                value.setText(said_mean(estimate, signed=which == "difference"))
                interval.setText(said_ends(estimate))


def _thumbnail(change: ImageChange) -> Thumbnail:
    tip = f"{change.image_id} ({change.domain}): Jaccard {change.old:.3f} → {change.new:.3f}"
    return Thumbnail(f"{change.change:+.2f}", tip, change.image, change.thumbnail)


def _column(holder: QWidget) -> QVBoxLayout:
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(5)
    return layout
