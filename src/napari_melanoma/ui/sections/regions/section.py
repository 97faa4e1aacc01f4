"""The Regions section of a slide: draw, classify and change regions, and exchange them with other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.io.results import OUTLINES
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.regions.data_set import open_data_set_dialog
from napari_melanoma.ui.sections.regions.resolve import RegionFacts, resolve_regions
from napari_melanoma.ui.sections.regions.tools import RegionTools
from napari_melanoma.ui.sections.regions.view import RegionView
from napari_melanoma.ui.session.annotations import (
    REGION_DOCUMENT,
    export_region_file,
    import_region_file,
    select_regions,
)
from napari_melanoma.ui.viewer.view_memory import zoom_to_polygons
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR
from napari_melanoma.ui.widgets.dialogs import OUTLINE_FILTERS, choose_file, choose_new_file

if TYPE_CHECKING:
    from napari_melanoma.slides.regions import RegionClass, Regions
    from napari_melanoma.ui.session.slide import SlideSession

SELECT_FIRST = "Select regions first: in the list, or press select and click them on the slide."


class RegionsSection(SlideSection):
    """Connects the widgets with the regions of a slide and with the tools on the canvas."""

    documents = (REGION_DOCUMENT,)
    parts = (RegionTools,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services, self._canvas = session.services, session.part(RegionTools)
        unit = "px" if session.slide.info.pixel_size is None else "µm"
        self.view = RegionView(session.services.settings, session.services.icons, unit)
        self.add(self.view)
        names = [one.name for one in self.view.class_list.classes]
        if self._canvas.region_class.name in names:
            self.view.class_list.select_class(names.index(self._canvas.region_class.name) + 1)
        self._canvas.set_class(self.view.class_list.current)
        self._connect()
        self._connect_view()
        self._on_wand()
        self._on_regions(session.regions.value)

    def _connect(self) -> None:
        session, services = self.session, self._services
        for signal, slot in (
            (session.regions.changed, self._on_regions),
            (session.selected_regions.changed, self._on_selection),
            (session.commit_requested, self._on_reader),
            (self._canvas.memory.copied.changed, self._update_texts),
            (session.annotations.changed, self._update_texts),
            (services.class_key_pressed, self._on_class_key),
            (services.reader_changed, self.view.reader_field.show_name),
        ):
            self.follow(signal, slot)
        services.tool_buttons += self.view.tools.values()
        self._canvas.tool_changed.connect(self.view.show_tool)
        self._canvas.added.connect(self.view.region_list.table.scroll_to)
        self._canvas.wand.tolerance_changed.connect(self.view.settings_view.tolerance.setValue)

    def _connect_view(self) -> None:
        view = self.view
        view.class_list.class_selected.connect(lambda: self._canvas.set_class(view.class_list.current))
        view.class_list.class_edited.connect(self._on_class_edited)
        view.reader_field.editingFinished.connect(self._on_reader)
        for name, button in view.tools.items():
            button.clicked.connect(partial(self._on_tool, name))
        undo, redo = self.session.annotations.undo, self.session.annotations.redo
        slots = {"class": self._on_change_class, "remove": self._on_remove, "undo": undo, "redo": redo}
        for name, slot in slots.items():
            view.edit_buttons[name].clicked.connect(lambda _=False, slot=slot: slot())
        table = view.region_list.table
        table.chosen.connect(self._on_chosen)
        view.region_list.filtered.connect(partial(select_regions, self.session.selected_regions))
        table.key_pressed.connect(lambda key: self._on_remove() if key == "remove" else self._on_operation(key))
        table.table_model.renamed.connect(self._on_renamed)
        view.operations.requested.connect(self._on_operation)
        view.settings_view.wand_changed.connect(self._on_wand)
        view.import_requested.connect(self._on_import)
        view.export_button.clicked.connect(self._on_export)
        view.data_set_button.clicked.connect(self._on_data_set)

    def _on_regions(self, regions: Regions) -> None:
        """Show other regions."""
        self.view.class_list.add_missing_classes(_list_classes(regions))
        pixel_size, selected = self.session.slide.info.pixel_size, self.session.selected_regions.value
        self.view.region_list.show_regions(regions, pixel_size, selected)
        self._update_texts()

    def _on_selection(self, selected: tuple[str, ...]) -> None:
        self.view.region_list.table.select(selected)
        self._update_texts()

    def _update_texts(self) -> None:
        session, document = self.session, self.session.regions
        facts = RegionFacts(
            document.value,
            session.selected_regions.value,
            drawn=len({one.ring_key[0] for one in self._canvas.layer.outlines}),
            can_undo=session.annotations.can_undo,
            can_redo=session.annotations.can_redo,
            can_paste=bool(self._canvas.memory.copied.value.regions),
            has_scale=session.slide.info.pixel_size is not None,
        )
        self.view.show_texts(resolve_regions(facts))

    def _on_tool(self, name: str) -> None:
        """Activate a tool, or deactivate it if it is active."""
        self._on_reader()
        self._canvas.set_tool(name if self.view.tools[name].isChecked() else "")

    def _on_reader(self) -> None:
        self._services.set_reader(self.view.reader_field.name)

    def _on_wand(self) -> None:
        wand, settings = self._canvas.wand, self.view.settings_view
        wand.tolerance, wand.reach = settings.tolerance.value(), settings.reach.value()

    def _on_class_key(self, number: int) -> None:
        if self._canvas.tool:
            self.view.class_list.select_class(number)

    def _on_class_edited(self, previous: RegionClass, edited: RegionClass) -> None:
        self._canvas.edit_class(previous, edited)
        self._canvas.set_class(self.view.class_list.current)

    def _on_chosen(self, ids: tuple[str, ...]) -> None:
        """Select the regions of the selected rows on the slide, and zoom to a single one; keep the active tool."""
        session, layer, viewer = self.session, self._canvas.layer, self._services.viewer
        if ids and not self._canvas.tool and viewer.layers.selection.active in session.slide.layers:
            # napari highlights selected shapes in the active layer only
            layer.set_mode("pan_zoom", self._canvas.region_class)
        select_regions(session.selected_regions, ids)
        if len(ids) == 1:
            layer.select(ids)
            region = next(one for one in session.regions.value if one.id == ids[0])
            zoom_to_polygons(viewer, session.slide, region.polygons)

    def _on_renamed(self, region_id: str, name: str) -> None:
        from napari_melanoma.slides.regions import rename_region

        self.session.regions.apply(lambda regions: rename_region(regions, region_id, name))

    def _on_operation(self, name: str) -> None:
        self._on_reader()
        self._canvas.operations.run(name, self.view.operations.distance.value())

    def _on_change_class(self) -> None:
        from napari_melanoma.slides.regions import set_region_class

        selected, region_class = self._require_selection(), self.view.class_list.current
        self.session.regions.apply(lambda regions: set_region_class(regions, selected, region_class))

    def _on_remove(self) -> None:
        from napari_melanoma.slides.regions import remove_regions

        selected = self._require_selection()
        self.session.regions.apply(lambda regions: remove_regions(regions, selected))

    def _require_selection(self) -> tuple[str, ...]:
        """Return the ids of the selected regions; if there are none, show a message that explains how to select."""
        selected = self.session.selected_regions.value
        if not selected:
            self._services.status.show_briefly(SELECT_FIRST)
        return selected

    def _on_import(self, kind: str) -> None:
        session = self.session
        add = partial(import_region_file, session)
        if kind == "lesions":
            add(session.folder / OUTLINES)
        else:
            window, title = self._services.window, "Regions of this slide"
            choose_file(window, "region_import_dialog", title, OUTLINE_FILTERS, add, session.folder)

    def _on_data_set(self) -> None:
        open_data_set_dialog(self._services, self.session.location.out)

    def _on_export(self) -> None:
        session, window = self.session, self._services.window
        suggested = Path(f"{session.slide.info.name}-regions.geojson")
        write = partial(export_region_file, session.regions)
        choose_new_file(window, "region_export_dialog", "Export the regions as GeoJSON", "GeoJSON", write, suggested)


def _list_classes(regions: Regions) -> tuple[RegionClass, ...]:
    """List the classes of the regions."""
    from napari_melanoma.slides.regions import RegionClass

    colors = {region.class_name: region.color or DEFAULT_COLOR for region in regions if region.class_name}
    return tuple(RegionClass(name, color) for name, color in colors.items())
