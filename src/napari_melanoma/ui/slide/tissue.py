"""The tissue of a slide: found by a method, shown as a layer that can be corrected, and honoured as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.placement import MapPlace
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.dialogs import answer, ask
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.look import named, quiet, row

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.tissue import TissueMethod
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

CORRECTED, SET_ASIDE = "tissue-corrected.png", "tissue-corrected-before.png"
ABOUT: dict[TissueMethod, str] = {
    "auto": "Above the noise of the glass",
    "otsu": "Otsu's threshold on the staining",
    "entropy": "Kapur's threshold of most entropy",
    "triangle": "The triangle threshold on the staining",
    "luminance": "Otsu's threshold on the brightness",
}
NOT_FOUND = "Found when the slide is analysed. Find it now to see it, and correct it where it is wrong."
KEPT = "{:.0f} % of the slide, as you corrected it before: the analysis keeps to it, until you press Find anew."


@dataclass(frozen=True)
class FoundTissue:
    """Tissue as it was found: mask bool (row, column), its share of the slide, what to look at, and by which method."""

    identity: str
    mask: NDArray[np.bool_]
    share: float
    warnings: tuple[str, ...]
    method: str


class TissueSection(QWidget):
    """Method, share, and the layer of the tissue."""

    wanted = Signal()
    method_changed = Signal()
    anew = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.combo = named(StillCombo(), "tissue_method", "Method", "How tissue is told from glass")
        self.combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for place, name in enumerate(ABOUT):
            self.combo.addItem(name, name)
            self.combo.setItemData(place, ABOUT[name], 3)
        tip = "Show the tissue as a layer: paint or erase, and the analysis keeps to what you drew"
        self.button = named(QPushButton("Find and edit"), "tissue_find", "Find the tissue", tip)
        tip = "Take the tissue as it is found, without what you corrected"
        self.renew = named(QPushButton("Find anew"), "tissue_anew", "Find the tissue anew", tip)
        self.renew.hide()
        self._words = named(quiet(NOT_FOUND), "tissue_words", "About the tissue")
        self._words.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.combo, self.button, stretch=0))
        layout.addWidget(self._words)
        layout.addWidget(self.renew)
        self.combo.activated.connect(self.method_changed)
        self.button.clicked.connect(self.wanted)
        self.renew.clicked.connect(self.anew)

    @property
    def method(self) -> str:
        """How tissue is told from glass."""
        return str(self.combo.currentData())

    @method.setter
    def method(self, method: str) -> None:
        self.combo.setCurrentIndex(max(0, self.combo.findData(method)))

    def say(self, words: str) -> None:
        """Say how much tissue there is."""
        self._words.setText(words)


class TissueKeeper(QObject):
    """Finds the tissue of slides, shows it, and knows whether somebody corrected it."""

    failed = Signal(object)
    started = Signal()
    ended = Signal()

    def __init__(self, viewer: Viewer, section: TissueSection) -> None:
        super().__init__(section)
        self._viewer, self._section = viewer, section
        self._found: dict[str, FoundTissue] = {}
        self._kept: dict[str, NDArray[np.bool_]] = {}  # corrected when a slide was analysed before
        self._slide: OpenSlide | None = None
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_found)
        self._latest.failed.connect(self._on_failed)
        section.wanted.connect(self._on_wanted)
        section.method_changed.connect(self._on_method)
        section.anew.connect(self._on_anew)

    @property
    def busy(self) -> bool:
        """Whether tissue is being found."""
        return self._latest.busy

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        found = None if slide is None else self._found.get(slide.identity)
        if found is not None:
            self._section.method = found.method
        able = slide is not None and slide.info.kind == "brightfield"
        self._section.setEnabled(able)
        self._tell()

    def forget(self, identity: str) -> None:
        """Forget the tissue of a slide that was closed, or that is read again."""
        self._found.pop(identity, None)
        self._kept.pop(identity, None)

    def show_kept(self, mask: NDArray[np.bool_] | None) -> None:
        """Go on with the tissue that was corrected when the slide was analysed before.

        ``mask``: bool (row, column) of the whole slide; None where nobody corrected it.
        """
        slide = self._slide
        if slide is None or slide_layers.part(self._viewer, slide, "tissue") is not None:
            return
        self.forget(slide.identity)
        if mask is not None:
            self._kept[slide.identity] = mask
        self._tell()

    def corrected(self, slide: OpenSlide) -> NDArray[np.bool_] | None:
        """Give the tissue as it was corrected by hand.

        Returns bool (row, column) of the whole slide; None where nobody changed what was found.
        """
        import numpy as np

        layer, found = slide_layers.part(self._viewer, slide, "tissue"), self._found.get(slide.identity)
        if layer is None:
            return self._kept.get(slide.identity)
        drawn = np.asarray(layer.data) != 0
        return None if found is not None and np.array_equal(drawn, found.mask) else drawn

    def _on_wanted(self) -> None:
        """Show the layer, found first where there is none."""
        slide = self._slide
        if slide is None:
            return
        layer = slide_layers.part(self._viewer, slide, "tissue")
        if layer is not None:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = "paint"
        elif slide.identity in self._kept:
            self._show(slide, self._kept[slide.identity])
        else:
            self._find(slide)

    def _on_anew(self) -> None:
        """Go back to what is found, after asking."""
        slide = self._slide
        if slide is not None and (self.corrected(slide) is None or self._may_replace()):
            self._find(slide)

    def _on_method(self) -> None:
        """Find it by the other method where it is shown, after asking where somebody corrected it."""
        slide = self._slide
        if slide is None:
            return
        if slide_layers.part(self._viewer, slide, "tissue") is None and slide.identity not in self._kept:
            return
        if self.corrected(slide) is not None and not self._may_replace():
            found = self._found.get(slide.identity)
            self._section.method = "auto" if found is None else found.method
            return
        self._find(slide)

    def _may_replace(self) -> bool:
        box = ask(self._section, "replace_tissue", "Find the tissue anew?", "What you drew is lost.", "Slide")
        box.addButton("Find anew", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = answer(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _find(self, slide: OpenSlide) -> None:
        self.started.emit()
        work = partial(_find, slide.slide, slide.identity, slide.info.pixel_size, self._section.method)
        self._latest.submit(slide.identity, lambda: work)

    def _on_found(self, found: FoundTissue) -> None:
        self.ended.emit()
        self._found[found.identity] = found
        slide = self._slide
        if slide is None or slide.identity != found.identity:
            return
        self._kept.pop(found.identity, None)
        self._show(slide, found.mask)
        self._tell()

    def _show(self, slide: OpenSlide, mask: NDArray[np.bool_]) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        def make() -> Labels:
            colours = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#2f9e6e"})
            return Labels(mask.astype("uint8"), opacity=0.35, colormap=colours)

        place = MapPlace.of_thumbnail(mask.shape, slide.size, slide.info.pixel_size)
        layer = slide_layers.put(self._viewer, slide, "tissue", make, place)
        layer.data = mask.astype("uint8")
        layer.visible = True
        layer.selected_label, layer.brush_size = 1, max(10, max(mask.shape) // 60)
        self._viewer.layers.selection.active = layer

    def _on_failed(self, error: Exception) -> None:
        self.ended.emit()
        self.failed.emit(error)

    def _tell(self) -> None:
        slide = self._slide
        found = None if slide is None else self._found.get(slide.identity)
        kept = None if slide is None else self._kept.get(slide.identity)
        self._section.renew.setVisible(kept is not None or found is not None)
        if slide is not None and slide.info.kind != "brightfield":
            self._section.say("Tissue is found on brightfield slides only.")
        elif kept is not None:
            self._section.say(KEPT.format(100 * kept.mean()))
        elif found is None:
            self._section.say(NOT_FOUND)
        else:
            said = f"{100 * found.share:.0f} % of the slide. Paint or erase in the layer: the analysis keeps to it."
            self._section.say("\n".join((said, *found.warnings)))


def write_corrected(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """Keep tissue that was drawn beside the results.

    ``mask``: bool (row, column) of the whole slide.
    """
    from napari_melanoma.io.results import write_mask

    write_mask(folder / CORRECTED, mask)
    return folder / CORRECTED


def read_corrected(folders: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Read the tissue that was corrected last.

    Returns bool (row, column) of the whole slide; None where nobody corrected it.
    """
    from napari_melanoma.io.results import read_mask

    kept = [folder / CORRECTED for folder in folders if (folder / CORRECTED).is_file()]
    return read_mask(max(kept, key=lambda path: path.stat().st_mtime)) if kept else None


def set_corrected_aside(folders: Sequence[Path]) -> None:
    """Let the tissue be found again from now on; what was drawn stays in a file beside."""
    for folder in folders:
        if (folder / CORRECTED).is_file():
            (folder / CORRECTED).replace(folder / SET_ASIDE)


def _find(slide: TiledSlide, identity: str, size: Any, method: str, run: RunContext) -> FoundTissue:  # noqa: ANN401
    """Find the tissue as the analysis would."""
    from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

    overview = read_overview(slide)
    run.check()
    mask, warnings = tissue_of_overview(slide.info, overview, TissueConfig(method=method), size)
    return FoundTissue(identity, mask, float(mask.mean()), warnings, method)
