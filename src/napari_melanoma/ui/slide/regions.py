"""The regions of slides in the Slide dock: read when a slide is found, drawn, changed with undo, kept by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.io.slide_folder import OUTLINES
from napari_melanoma.ui.slide.regions_brush import RegionBrush
from napari_melanoma.ui.slide.regions_files import ask_export, ask_import
from napari_melanoma.ui.slide.regions_keeper import RegionKeeper
from napari_melanoma.ui.slide.regions_layer import RegionLayer

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.analysis.region_edits import ShapesNow
    from napari_melanoma.analysis.regions import RegionClass, Regions
    from napari_melanoma.core.placement import MapPlace
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide
    from napari_melanoma.ui.slide.regions_controls import RegionControls
    from napari_melanoma.ui.slide.regions_data import TileDataMaker

KEYS = range(1, 10)


class SlideRegions(QObject):
    """Keeps layer, fold and file of regions in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._controls: RegionControls | None = None
        self.maker: TileDataMaker | None = None
        self.keeper = RegionKeeper(self)
        self.layer = RegionLayer(viewer, self)
        self.brush = RegionBrush(viewer, self)
        self._keys: dict[str, Callable[[], None]] = {str(number): partial(self._on_key, number) for number in KEYS}
        self.layer.bind({**self._keys, "Control-Z": self.keeper.undo, "Control-Shift-Z": self.keeper.redo})
        self.layer.changed.connect(self._on_shapes)
        self.brush.painted.connect(self._on_painted)
        self.keeper.changed.connect(self._on_changed)
        self.keeper.said.connect(dock.status.say)
        self.layer.said.connect(dock.status.say)
        self.keeper.failed.connect(self.failed)
        dock.desk.found.connect(self.keeper.look)
        dock.left.connect(self.keeper.files.flush)
        dock.destroyed.connect(self.keeper.files.flush)
        self._fold = dock.regions_fold
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether regions are being read or written."""
        return self.layer.busy or self.keeper.busy or (self.maker is not None and self.maker.busy)

    @property
    def controls(self) -> RegionControls:
        """The fold's content, made when it is first needed."""
        if self._controls is None:
            from napari_melanoma.ui.slide.regions_controls import RegionControls

            made = self._controls = RegionControls(self._dock.settings, self._dock.icons)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            made.classes.chosen.connect(self._on_class)
            made.classes.edited.connect(self._on_class_edited)
            for mode, button in made.tools.items():
                button.clicked.connect(partial(self._on_tool, mode))
            keeper = self.keeper
            slots = {"class": self._on_reclass, "remove": self._on_remove, "undo": keeper.undo, "redo": keeper.redo}
            for name, slot in slots.items():
                made.edits[name].clicked.connect(lambda _=False, slot=slot: slot())
            made.importing.connect(self._on_import)
            made.export.clicked.connect(self._on_export)
            made.data.clicked.connect(self._on_data)
        return self._controls

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide; its regions come when its folder is found."""
        self.brush.finish()  # what was painted is of the slide before
        self.layer.turn_to(slide)
        self.keeper.turn_to(slide)

    def followed(self, link: str) -> bool:
        """Do what a link in the status line says, where it is about regions."""
        return self.maker is not None and self.maker.followed(link)

    def _on_changed(self, selected: Collection[str]) -> None:
        if self.keeper.drawn is not None:
            self.layer.show(self.keeper.regions, selected)
        self._tell()

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._tell()

    def _tell(self) -> None:
        """Say what there is, where somebody looks."""
        if self._controls is None and not self._fold.isExpanded():
            return
        controls, now, regions = self.controls, self.keeper.drawn, self.keeper.regions
        controls.classes.learn(_classes(regions))
        controls.words.setText(_said(regions, len({one.at[0] for one in self.layer.shown})))
        able = dict.fromkeys(("class", "remove", "any"), bool(regions))
        able |= {"undo": now is not None and bool(now.history.past)}
        able |= {"redo": now is not None and bool(now.history.undone)}
        controls.enable(now is not None, able)

    def _on_key(self, number: int) -> None:
        self.controls.classes.choose(number)

    def _on_class(self) -> None:
        """Draw another class from now on."""
        self.layer.colour(self.controls.classes.current)
        self.brush.choose(self.controls.classes.number)

    def _on_class_edited(self, before: RegionClass, now: RegionClass) -> None:
        """A class has another name or colour: its regions too."""
        from napari_melanoma.analysis.regions import reclassed

        ids = [one.id for one in self.keeper.regions if one.class_name == before.name]
        self.keeper.change(lambda regions: reclassed(regions, ids, now))
        self._on_class()

    def _on_tool(self, mode: str) -> None:
        """Take a tool in hand, or put it away."""
        on = self.controls.tools[mode].isChecked()
        self.brush.finish()
        slide = self._dock.slide
        self.controls.show_tool(mode if on else "")
        if slide is None:
            return
        if mode == "brush" and on:
            self.brush.start(slide, self.controls.classes.classes, self._keys)
            self.brush.choose(self.controls.classes.number)
        elif self.layer.layer is not None or on:
            self.layer.draw(mode if on and mode != "brush" else "pan_zoom", self.controls.classes.current)

    def _on_shapes(self, now: ShapesNow) -> None:
        """The user did something to the shapes."""
        from napari_melanoma.analysis.region_edits import followed

        of, reader, shown = self.controls.classes.current, self.controls.name, self.layer.shown
        self.keeper.change(lambda regions: followed(regions, shown, now, of, reader)[0])

    def _on_painted(self, labels: NDArray[np.uint8], place: MapPlace) -> None:
        from napari_melanoma.analysis.regions import painted_regions

        classes, reader = self.controls.classes.classes, self.controls.name
        self.controls.show_tool("")
        self.keeper.change(lambda regions: (*regions, *painted_regions(labels, place, classes, reader)))

    def _on_reclass(self) -> None:
        from napari_melanoma.analysis.regions import reclassed

        chosen, of = self._selected(), self.controls.classes.current
        self.keeper.change(lambda regions: reclassed(regions, chosen, of), chosen)

    def _on_remove(self) -> None:
        from napari_melanoma.analysis.regions import removed

        chosen = self._selected()
        self.keeper.change(lambda regions: removed(regions, chosen))

    def _selected(self) -> tuple[str, ...]:
        """Ids of the selected regions; says how to select where there are none."""
        chosen = self.layer.selected
        if not chosen:
            self._dock.status.say("Select regions first: press select, and click on them in the picture.")
        return chosen

    def _on_import(self, kind: str) -> None:
        now = self.keeper.drawn
        if now is not None and kind == "lesions":
            self.keeper.read(now.folder / OUTLINES)
        elif now is not None:
            ask_import(self._dock.window(), now.folder, lambda name: self.keeper.read(Path(name)))

    def _on_export(self) -> None:
        slide = self._dock.slide
        if slide is not None:
            ask_export(self._dock.window(), slide.info.name, lambda name: self.keeper.write(Path(name)))

    def _on_data(self) -> None:
        """Ask how tiles shall be cut, and cut them."""
        if self.maker is None:
            from napari_melanoma.ui.slide.regions_data import TileDataMaker

            self.maker = TileDataMaker(self._dock, self._viewer)
            self.maker.failed.connect(self.failed)
        self.maker.ask()


def _said(regions: Regions, shown: int) -> str:
    """Say how many regions there are, of which classes."""
    from napari_melanoma.ui.slide.regions_controls import NONE_YET

    if not regions:
        return NONE_YET
    counts = Counter(region.class_name or "without a class" for region in regions)
    said = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - shown
    more = f" The last {hidden} are not drawn, but kept." if hidden > 0 else ""
    return f"{len(regions)} region{'' if len(regions) == 1 else 's'}: {said}.{more}"


def _classes(regions: Regions) -> tuple[RegionClass, ...]:
    """The classes that regions have."""
    from napari_melanoma.analysis.regions import RegionClass

    found = {one.class_name: one.color or (255, 255, 0) for one in regions if one.class_name}
    return tuple(RegionClass(name, colour) for name, colour in found.items())
