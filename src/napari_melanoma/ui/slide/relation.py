"""How the area of lesions goes with their probability (P3), in a fold: rank correlation with interval, and a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.look import ThemedIcons, named, quiet
from napari_melanoma.ui.slide.scatter import Mark, Scatter
from napari_melanoma.ui.slide.table import class_of_probability
from napari_melanoma.ui.validity import SHOW
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.analysis.lesion_relation import MeasuredLesion
    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.slide.dock import SlideDock

NONE_YET = "No lesions yet: analyse the slide."
HIDDEN = f"Not valid: the reason is given above. Nothing is shown here before you press '{SHOW}' there."
ALL = "all slides in the folder of results"
ALL_TIP = "Take the lesions of every slide that was analysed there; the interval is then one over slides"


@dataclass(frozen=True)
class Relation:
    """What was found: the correlation, in words, and the marks with the unit of their areas."""

    said: str
    marks: tuple[Mark, ...]
    unit: str


class RelationView(QWidget):
    """Words and plot."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.all = named(QCheckBox(ALL), "relation_all", ALL.capitalize(), ALL_TIP)
        self.words = named(Words(NONE_YET), "relation_words", "Relation of area and probability")
        self.words.setToolTip("Spearman's rank correlation: 1 where larger lesions are always the more suspicious")
        self.plot = Scatter(icons)
        self.key = quiet("● malignant   ■ benign   grey: other slides")
        self.key.setObjectName("relation_key")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.words, self.plot, self.key, self.all):
            layout.addWidget(widget)
        self.plot.hide()
        self.key.hide()

    def show_relation(self, relation: Relation) -> None:
        """Show what was found."""
        self.words.setText(relation.said)
        self.plot.show_marks(relation.marks, relation.unit)
        self.plot.setVisible(bool(relation.marks))
        self.key.setVisible(bool(relation.marks))


class LesionRelation(QObject):
    """Keeps the fold in step with the lesions while it is open; the arithmetic is done in a thread."""

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._view: RelationView | None = None
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_found)
        self._latest.failed.connect(dock.lesions.failed)
        self._fold = dock.relation_fold
        self._fold.toggled.connect(self._on_fold)
        dock.lesions.changed.connect(self._on_lesions)
        dock.lesions.saved.connect(self._on_lesions)
        dock.table.picked.connect(self._on_picked)
        dock.validity.shown.connect(self._on_lesions)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether a correlation is on its way."""
        return self._latest.busy

    def _on_fold(self, is_open: bool) -> None:
        """Make what is inside when somebody looks for the first time."""
        if is_open and self._view is None:
            self._view = RelationView(self._dock.icons)
            self._view.all.toggled.connect(self._on_lesions)
            self._view.plot.chosen.connect(self._on_chosen)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(self._view)
        if is_open:
            self._on_lesions()

    def _on_lesions(self, _: object = None) -> None:
        if self._view is None or not self._fold.isExpanded():
            return
        found = self._dock.lesions.findings
        if found is None:
            self._latest.drop("relation")
            self._view.show_relation(Relation(NONE_YET, (), ""))
            return
        if not self._dock.validity.shows_numbers:
            self._latest.drop("relation")
            self._view.show_relation(Relation(HIDDEN, (), ""))
            return
        root = self._dock.desk.root if self._view.all.isChecked() else None
        self._latest.submit("relation", lambda: partial(_relate, found.identity, found.lesions, found.folder, root))

    def _on_found(self, told: tuple[str, Relation]) -> None:
        slide = self._dock.slide
        is_wanted = slide is not None and slide.identity == told[0] and self._dock.validity.shows_numbers
        if self._view is not None and is_wanted:
            self._view.show_relation(told[1])
            self._on_picked()

    def _on_picked(self) -> None:
        if self._view is not None:
            self._view.plot.show_selected(self._dock.table.selected)

    def _on_chosen(self, index: int) -> None:
        """Go to the lesion, as a click on its row does."""
        table = self._dock.table
        table.pick(index)
        lesion = next((one for one in table.rows.lesions if one.index == index), None)
        if lesion is not None:
            table.chosen.emit(lesion)


def _relate(
    identity: str, lesions: Sequence[Any], folder: Path, root: Path | None, run: RunContext
) -> tuple[str, Relation]:
    """Relate the lesions of the slide in view, or those of all slides below a folder, this one's as they are now."""
    from napari_melanoma.analysis.lesion_relation import area_and_probability, with_both
    from napari_melanoma.workflows.lesion_tables import as_tabled, tabled_lesions

    own = with_both(lesions if root is None else as_tabled(folder, lesions))
    others = (
        []
        if root is None
        else [one for one in with_both(tabled_lesions(root)) if one.slide not in (folder, *folder.parents)]
    )
    run.check()
    both: list[MeasuredLesion] = [*own, *others]
    slides = [str(folder)] * len(own) + [str(one.slide) for one in others]
    several = len(set(slides)) > 1
    found = area_and_probability(both, slides if several else None)
    in_mm2 = all(one.area_mm2 is not None for one in both)
    marks = [_mark(one, in_mm2, "", one.index) for one in own]
    marks += [_mark(one, in_mm2, f" of {one.slide.name}", None) for one in others]
    said = said_relation(found, len(both), len(set(slides)) if root is not None else None)
    models = {one.model for one in others}
    if len(models) > 1:
        said += f" The slides were analysed with {len(models)} different models: their probabilities may not compare."
    return identity, Relation(said, tuple(marks), "mm²" if in_mm2 else "pixels")


def _mark(lesion: Any, in_mm2: bool, where: str, index: int | None) -> Mark:  # noqa: ANN401 - a lesion, or a row
    area = float(lesion.area_mm2 if in_mm2 else lesion.area_px)
    unit = "mm²" if in_mm2 else "px"
    probability = f"p {class_of_probability(lesion.label)} {lesion.probability:.2f}"
    said = f"lesion {lesion.index}{where}: {area:.3g} {unit}, {probability}"
    return Mark(area, float(lesion.probability), lesion.label != "benign", said, index)


def said_relation(found: Estimate | None, lesions: int, slides: int | None) -> str:
    """Say a correlation; never more than the number says.

    With its interval, and what that is over.
    """
    of = f"{lesions} lesion{'' if lesions == 1 else 's'}"
    if slides is not None:
        of += f" of {slides} slide{'' if slides == 1 else 's'}"
    if found is None:
        return f"A relation takes at least three lesions; there {'is' if lesions == 1 else 'are'} {of}."
    if math.isnan(found.mean):
        return f"{of}: all areas or all probabilities are alike, so there is no rank correlation."
    interval = f"95 % {found.low:.2f} to {found.high:.2f}" if found.has_interval else "no interval: too few"
    said = f"Spearman {found.mean:.2f} ({interval}), {of}."
    if slides is None or slides == 1:
        return f"{said} The interval is over these lesions alone and says nothing of other slides."
    return f"{said} The interval is over slides."
