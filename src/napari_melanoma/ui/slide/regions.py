"""The regions of slides in the Slide dock: read when a slide is found, drawn, changed with undo, kept by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.slide.regions_brush import RegionBrush
from napari_melanoma.ui.slide.regions_controls import NONE_YET, RegionControls
from napari_melanoma.ui.slide.regions_files import (
    Drawn,
    Imported,
    Kept,
    ask_export,
    ask_import,
    export_to,
    import_from,
    keep,
    load,
)
from napari_melanoma.ui.slide.regions_layer import RegionLayer

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.analysis.region_edits import ShapesNow
    from napari_melanoma.analysis.regions import RegionClass, Regions
    from napari_melanoma.core.placement import MapPlace
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.slide.desk import Place
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide
    from napari_melanoma.ui.slide.regions_data import TileDataMaker

Edit = Callable[["Regions"], "Regions"]
LESIONS = "lesions.geojson"
KEYS = range(1, 10)


class SlideRegions(QObject):
    """Keeps layer, fold and file of regions in step; what is in the fold is made when it is first opened.

    Parameters
    ----------
    dock : SlideDock
        The dock, with its parts.
    viewer : napari.viewer.Viewer
        The viewer.

    Attributes
    ----------
    failed : Signal(object)
        An exception; the regions are as they were.
    """

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._known: dict[str, Drawn] = {}
        self._controls: RegionControls | None = None
        self.maker: TileDataMaker | None = None
        self.layer = RegionLayer(viewer, self)
        self.brush = RegionBrush(viewer, self)
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        self._keys: dict[str, Callable[[], None]] = {str(number): partial(self._on_key, number) for number in KEYS}
        self.layer.bind({**self._keys, "Control-Z": self.undo, "Control-Shift-Z": self.redo})
        self.layer.changed.connect(self._on_shapes)
        self.brush.painted.connect(self._on_painted)
        dock.desk.found.connect(self._on_found)
        self._fold = dock.regions_fold
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether regions are being read or written."""
        return self.layer.busy or self._latest.busy or (self.maker is not None and self.maker.busy)

    @property
    def drawn(self) -> Drawn | None:
        """Those of the slide that the dock is about; None until they were read."""
        slide = self._dock.slide
        return None if slide is None else self._known.get(slide.identity)

    @property
    def controls(self) -> RegionControls:
        """The fold's content, made when it is first needed."""
        if self._controls is None:
            made = self._controls = RegionControls(self._dock.settings, self._dock.icons)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            made.classes.chosen.connect(self._on_class)
            made.classes.edited.connect(self._on_class_edited)
            for mode, button in made.tools.items():
                button.clicked.connect(partial(self._on_tool, mode))
            slots = {"class": self._on_reclass, "remove": self._on_remove, "undo": self.undo, "redo": self.redo}
            for name, slot in slots.items():
                made.edits[name].clicked.connect(lambda _=False, slot=slot: slot())
            made.importing.connect(self._on_import)
            made.export.clicked.connect(self._on_export)
            made.data.clicked.connect(self._on_data)
        return self._controls

    def change(self, edit: Edit, selected: Collection[str] = ()) -> None:
        """Change the regions by hand; a step that can be undone, kept at once.

        Parameters
        ----------
        edit : callable
            From regions to regions.
        selected : collection of str
            Ids of those that are selected then.
        """
        now = self.drawn
        if now is None:
            return
        try:
            regions = edit(now.history.now)
        except MelanomaError as error:
            self.layer.show(now.history.now)
            self.failed.emit(error)
            return
        if regions != now.history.now:
            self._take(replace(now, history=now.history.then(regions)), selected)

    def followed(self, link: str) -> bool:
        """Do what a link in the status line says, where it is about regions.

        Parameters
        ----------
        link : str
            As it was written.

        Returns
        -------
        bool
            Whether it was.
        """
        return self.maker is not None and self.maker.followed(link)

    def undo(self) -> None:
        """Take back the last change."""
        self._step("undo")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._step("redo")

    def _step(self, way: str) -> None:
        now = self.drawn
        if now is not None:
            history = getattr(now.history, way)()
            if history is not now.history:
                self._take(replace(now, history=history))

    def _take(self, drawn: Drawn, selected: Collection[str] = ()) -> None:
        """Let regions count from now on: known, shown, kept."""
        self._known[drawn.identity] = drawn
        self.layer.show(drawn.history.now, selected)
        self._tell()
        self._latest.submit(f"{drawn.identity} keep", partial(self._keeping, drawn.identity))

    def _keeping(self, identity: str) -> Callable[[RunContext], Any] | None:
        """What a thread is to write; asked when its turn has come, so that the stamp is that of the last file."""
        now = self._known.get(identity)
        return None if now is None else partial(keep, now)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide; its regions come when its folder is found.

        Parameters
        ----------
        slide : OpenSlide or None
            None for none.
        """
        self.brush.finish()
        self.layer.turn_to(slide)
        now = self.drawn
        if now is not None:
            self.layer.show(now.history.now)
        self._tell()

    def _on_found(self, place: Place) -> None:
        slide = self._dock.slide
        if slide is None or slide.identity != place.identity:
            return
        now = self._known.get(place.identity)
        if now is None or now.folder != place.folder:
            self._latest.submit(f"{place.identity} load", lambda: partial(load, place))

    def _on_done(self, done: Drawn | Kept | Imported | str) -> None:
        slide = self._dock.slide
        here = None if slide is None or isinstance(done, str) else done.identity == slide.identity
        if isinstance(done, str):
            self._dock.status.say(done)
        elif isinstance(done, Drawn):
            self._known[done.identity] = done
            if here:
                self.layer.show(done.history.now)
        elif isinstance(done, Kept):
            self._known[done.identity] = replace(self._known[done.identity], stamp=done.found.stamp)
            if done.found.notes:
                self._dock.status.say("; ".join(done.found.notes))
        elif here:
            fresh = done.found.regions
            self.change(lambda regions: (*regions, *fresh))
            self._dock.status.say("; ".join((f"{len(fresh)} regions imported", *done.found.notes)) + ".")
        self._tell()

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._tell()

    def _tell(self) -> None:
        """Say what there is, where somebody looks."""
        if self._controls is None and not self._fold.isExpanded():
            return
        controls, now = self.controls, self.drawn
        regions = () if now is None else now.history.now
        classes = _classes(regions)
        controls.classes.learn(list(classes))
        counts = Counter(region.class_name or "without a class" for region in regions)
        said = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        hidden = len(regions) - len({one.at[0] for one in self.layer.shown})
        more = f" The last {hidden} are not drawn, but kept." if regions and hidden > 0 else ""
        controls.words.setText(f"{len(regions)} regions: {said}.{more}" if regions else NONE_YET)
        able = {
            "class": bool(regions),
            "remove": bool(regions),
            "undo": now is not None and bool(now.history.past),
            "redo": now is not None and bool(now.history.undone),
            "any": bool(regions),
        }
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

        drawn = self.drawn
        ids = [] if drawn is None else [one.id for one in drawn.history.now if one.class_name == before.name]
        self.change(lambda regions: reclassed(regions, ids, now))
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
        self.change(lambda regions: followed(regions, shown, now, of, reader)[0])

    def _on_painted(self, labels: NDArray[np.uint8], place: MapPlace) -> None:
        from napari_melanoma.analysis.regions import painted_regions

        classes, reader = self.controls.classes.classes, self.controls.name
        self.controls.show_tool("")
        self.change(lambda regions: (*regions, *painted_regions(labels, place, classes, reader)))

    def _on_reclass(self) -> None:
        from napari_melanoma.analysis.regions import reclassed

        chosen, of = self._selected(), self.controls.classes.current
        self.change(lambda regions: reclassed(regions, chosen, of), chosen)

    def _on_remove(self) -> None:
        from napari_melanoma.analysis.regions import removed

        chosen = self._selected()
        self.change(lambda regions: removed(regions, chosen))

    def _selected(self) -> tuple[str, ...]:
        """Ids of the selected regions; says how to select where there are none."""
        chosen = self.layer.selected
        if not chosen:
            self._dock.status.say("Select regions first: press select, and click on them in the picture.")
        return chosen

    def _on_import(self, kind: str) -> None:
        now, slide = self.drawn, self._dock.slide
        if now is None or slide is None:
            return
        work = partial(import_from, now.identity, now.history.now, slide.size)
        if kind == "lesions":
            self._importing(work, str(now.folder / LESIONS))
        else:
            ask_import(self._dock.window(), now.folder, partial(self._importing, work))

    def _importing(self, work: Callable[..., Any], name: str) -> None:
        self._latest.submit(f"import {name}", lambda: partial(work, Path(name)))

    def _on_export(self) -> None:
        now, slide = self.drawn, self._dock.slide
        if now is not None and slide is not None:
            ask_export(self._dock.window(), slide.info.name, partial(self._exporting, now))

    def _exporting(self, now: Drawn, name: str) -> None:
        self._latest.submit("export", lambda: partial(export_to, now.history.now, Path(name)))

    def _on_data(self) -> None:
        """Ask how tiles shall be cut, and cut them."""
        if self.maker is None:
            from napari_melanoma.ui.slide.regions_data import TileDataMaker

            self.maker = TileDataMaker(self._dock, self._viewer)
            self.maker.failed.connect(self.failed)
        self.maker.ask()


def _classes(regions: Regions) -> tuple[RegionClass, ...]:
    """The classes that regions have."""
    from napari_melanoma.analysis.regions import RegionClass

    found = {one.class_name: one.color or (255, 255, 0) for one in regions if one.class_name}
    return tuple(RegionClass(name, colour) for name, colour in found.items())
