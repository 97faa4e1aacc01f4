"""The strokes and classes that a reader has painted on a slide, their commands, and their file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_melanoma.ui.session.document import DocumentKind, SlideFolder, Stored

if TYPE_CHECKING:
    from napari_melanoma.core.channel_choice import ChannelChoice
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke

DEFAULT_COLOR: Color = (255, 255, 0)  # of classes without a color in the file


@dataclass(frozen=True)
class PaintState:
    """What a reader has painted on one slide: it is saved, undone and compared as a whole.

    ``classes``: in the order of the user, also those without strokes. ``channels``: those
    of a fluorescence slide that the strokes in its file are painted on; None for brightfield.
    """

    strokes: tuple[Stroke, ...] = ()
    classes: tuple[RegionClass, ...] = ()
    channels: ChannelChoice | None = None

    @property
    def colors(self) -> dict[str, Color]:
        """The colors of the classes by name, in their order."""
        return {one.name: one.color for one in self.classes}


Command = Callable[[PaintState], PaintState]


def add_stroke(stroke: Stroke) -> Command:
    """Add a stroke above the others."""
    return lambda state: replace(state, strokes=(*state.strokes, stroke))


def remove_stroke(stroke_id: str) -> Command:
    """Remove a stroke."""
    return lambda state: replace(state, strokes=tuple(one for one in state.strokes if one.id != stroke_id))


def add_class(added: RegionClass) -> Command:
    """Add a class, unless there is one of this name."""

    def add(state: PaintState) -> PaintState:
        return state if added.name in state.colors else replace(state, classes=(*state.classes, added))

    return add


def edit_class(previous: RegionClass, edited: RegionClass) -> Command:
    """Change name and color of a class and of its strokes; with the name of another class, the two are merged."""

    def edit(state: PaintState) -> PaintState:
        from napari_melanoma.slides.tissue_classifier.strokes import rename_class

        classes = {one.name: one for one in state.classes if one.name != edited.name or one.name == previous.name}
        renamed = [edited if one.name == previous.name else one for one in classes.values()]
        strokes = rename_class(state.strokes, previous.name, edited.name)
        return replace(state, strokes=strokes, classes=tuple(renamed))

    return edit


def remove_class(name: str) -> Command:
    """Remove a class with its strokes."""

    def remove(state: PaintState) -> PaintState:
        from napari_melanoma.slides.tissue_classifier.strokes import delete_class

        classes = tuple(one for one in state.classes if one.name != name)
        return replace(state, strokes=delete_class(state.strokes, name), classes=classes)

    return remove


def join_classes(first: Iterable[RegionClass], others: Iterable[RegionClass]) -> tuple[RegionClass, ...]:
    """Return classes, followed by those of ``others`` that have another name."""
    joined = {one.name: one for one in first}
    for one in others:
        joined.setdefault(one.name, one)
    return tuple(joined.values())


def _read(location: SlideFolder) -> Stored[PaintState]:
    from napari_melanoma.core.files import file_stamp
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.slides.tissue_classifier.strokes import STROKES, read_stroke_file

    path = location.folder / STROKES
    if not path.is_file():
        return Stored(PaintState())
    stamp, content = file_stamp(path), read_stroke_file(path, location.origin)
    classes = tuple(RegionClass(name, color or DEFAULT_COLOR) for name, color in content.classes.items())
    return Stored(PaintState(content.strokes, classes, content.channels), stamp, unread=content.unread)


def _write(location: SlideFolder, state: PaintState, stored: Stored[PaintState]) -> Stored[PaintState]:
    from napari_melanoma.core.files import back_up_if_changed, file_stamp
    from napari_melanoma.slides.result_folder import record_new_slide
    from napari_melanoma.slides.tissue_classifier.strokes import STROKES, write_strokes

    path, unread = location.folder / STROKES, stored.unread
    record_new_slide(location.folder, location.slide)
    notes = back_up_if_changed(path, stored.stamp)
    write_strokes(path, state.strokes, state.colors, origin=location.origin, unread=unread, channels=state.channels)
    return Stored(state, file_stamp(path), notes, unread)


STROKE_DOCUMENT = DocumentKind("strokes", PaintState(), _read, _write)
