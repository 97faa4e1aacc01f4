"""The annotations of a slide: one undo of all kinds, the selected regions, and the import and export of other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.polygons import joint_box
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.document import (
    Document,
    DocumentKind,
    Edited,
    HistoryStep,
    JointHistory,
    Shared,
    SlideFolder,
    Stored,
)
from napari_melanoma.ui.session.lesions import LesionDocument
from napari_melanoma.ui.session.open_slide import OpenSlide
from napari_melanoma.ui.viewer.camera import get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view

if TYPE_CHECKING:
    from napari_melanoma.slides.regions import Regions, StoredRegions

NOTHING = "There is nothing to {}."
STEP_TEXTS = ("Undone:", "Redone:")
UNDO_TIP = "Undo the last change of regions, measurements, counted points or lesions (Ctrl+Z on the canvas)"
REDO_TIP = "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"


class Annotations(JointHistory):
    """Undo and redo of everything that is drawn on a slide: regions, measurements, counted points and lesions.

    What a step has changed is stated, and brought into view.
    """

    def __init__(self, session: OpenSlide) -> None:
        kinds: dict[str, Edited[Any]] = {
            "region": session.document(REGION_DOCUMENT),
            "measurement": session.measures,
            "point": session.document(COUNT_DOCUMENT),
            "lesion": LesionDocument.of(session),
        }
        super().__init__(*kinds.values())
        self._session = session
        kinds["region"].changed.connect(self._deselect_removed)
        for noun, value in kinds.items():
            value.stepped.connect(partial(self._on_stepped, noun, value))

    def undo(self) -> None:
        """Undo what is being drawn, otherwise the last step of all values, or state that there is none."""
        self._session.commit_requested.drawn.emit()  # otherwise it would be lost with the step before it
        if not self.can_undo:
            self._session.services.status.show_briefly(NOTHING.format("undo"))
        super().undo()

    def redo(self) -> None:
        """Redo the step that was undone last, or state that there is none."""
        self._session.commit_requested.drawn.emit()
        if not self.can_redo:
            self._session.services.status.show_briefly(NOTHING.format("redo"))
        super().redo()

    def _deselect_removed(self, regions: Regions) -> None:
        selected, ids = self._session.selected_regions, {region.id for region in regions}
        select_regions(selected, [one for one in selected.value if one in ids])

    def _on_stepped(self, noun: str, value: Shared[Any], direction: HistoryStep, previous: Any) -> None:  # noqa: ANN401
        session = self._session
        before, after = (getattr(one, "lesions", one) or () for one in (previous, value.value))
        changed = _find_new(after, before) or _find_new(before, after)
        if not session.displayed.value or not changed:
            return
        change = "removed" if len(after) < len(before) else "restored" if len(after) > len(before) else "changed"
        done = STEP_TEXTS[direction == "redo"]
        session.services.status.show_briefly(f"{done} {format_count(len(changed), noun)} {change}.")
        view = get_visible_region(session.services.viewer, session.slide)
        corners = [corner for one in changed for corner in _list_corners(one)]
        (top, left), (bottom, right) = (tuple(map(find, zip(*corners, strict=True))) for find in (min, max))
        is_below, is_right = top > view.top + view.height, left > view.left + view.width
        if is_below or is_right or bottom < view.top or right < view.left:
            center_view(session.services.viewer, session.slide, ((top + bottom) / 2, (left + right) / 2))


def _find_new(annotations: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Return the annotations that are not among others; areas are compared by identity, as they are not hashable."""
    known = {id(one) if hasattr(one, "polygons") else one for one in others}
    return [one for one in annotations if (id(one) if hasattr(one, "polygons") else one) not in known]


def _list_corners(annotation: Any) -> Sequence[tuple[float, float]]:  # noqa: ANN401 - region, measurement or point
    if not hasattr(annotation, "polygons"):
        return (annotation.at,) if hasattr(annotation, "at") else annotation.points
    box = joint_box(annotation.polygons)
    return (box.top, box.left), (box.top + box.height, box.left + box.width)


def select_regions(selected: Shared[tuple[str, ...]], ids: Iterable[str]) -> None:
    """Replace the ids of the selected regions, unless they are the same in another order."""
    wanted = tuple(dict.fromkeys(ids))
    if set(wanted) != set(selected.value):
        selected.set(wanted)


def import_region_file(session: OpenSlide, path: Path) -> None:
    """Add the regions, measurements and depth readings of a file, once those of the slide have been read."""
    document, info = session.document(REGION_DOCUMENT), session.slide.info

    def read(run: RunContext) -> StoredRegions:
        from napari_melanoma.slides.regions import import_regions

        if document.problem:
            raise InputError(document.problem)
        return import_regions(path, session.slide.size, document.value, origin=info.origin, slide=info.path)

    def add(imported: StoredRegions) -> None:
        from napari_melanoma.ui.session.depth import FindingsDocument

        document.apply(lambda regions: (*regions, *imported.regions))
        if imported.measures:
            session.measures.apply(lambda known: (*known, *(one for one in imported.measures if one not in known)))
        if imported.readings:
            FindingsDocument.of(session).add_readings(imported.readings, partial(show, imported))
        else:
            show(imported, 0, ())

    def show(imported: StoredRegions, readings: int, notes: tuple[str, ...]) -> None:
        counts = [format_count(len(imported.regions), "region")]
        counts += [format_count(len(imported.measures), "measurement")] if imported.measures else []
        counts += [format_count(readings, "depth reading")] if readings else []
        document.message.emit("; ".join((f"{', '.join(counts)} imported", *imported.notes, *notes)) + ".")

    document.submit(read, add)


def export_region_file(document: Document[Regions], path: Path) -> None:
    """Write the regions to a GeoJSON file in the background."""
    regions = document.value

    def write(run: RunContext) -> str:
        from napari_melanoma.io.geojson import write_geojson

        write_geojson(path, regions, origin=document.location.origin)
        return f"Saved: {path}"

    document.submit(write, document.message.emit)


def _read(location: SlideFolder) -> Stored[Regions]:
    from napari_melanoma.slides.regions import load_regions

    stored = load_regions(location.folder)
    return Stored(stored.regions, stored.stamp, unread=stored.unread)


def _write(location: SlideFolder, regions: Regions, stored: Stored[Regions]) -> Stored[Regions]:
    from napari_melanoma.slides.regions import save_regions

    saved = save_regions(location.folder, location.slide, regions, stored.stamp, stored.unread)
    return Stored(regions, saved.stamp, saved.notes, saved.unread)


REGION_DOCUMENT: DocumentKind[Regions] = DocumentKind("regions", (), _read, _write)
