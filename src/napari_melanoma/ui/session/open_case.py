"""The open case as other docks and sections use it, and the slides in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, slide_display_name

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CaseLesion
    from napari_melanoma.case.store import CaseStore

NO_CASE = "no case is open: open one that contains this slide in the Case dock (Plugins > Melanoma > Case)."
NOT_IN_CASE = "{} is not an image of the open case: drop it on its lesion in the Case dock first."


class OpenCase(Protocol):
    """The case of a viewer; ``case`` and ``store`` are None while none is open.

    ``opened``, ``changed``: signals; another case was opened or the case was closed, it was edited. ``saver``: its
    ``run_when_saved`` calls a function when all edits are saved.
    """

    opened: Any
    changed: Any
    saver: Any

    @property
    def case(self) -> Case | None:
        """The current values."""

    @property
    def store(self) -> CaseStore | None:
        """Where it is stored."""

    @property
    def read_only(self) -> str:
        """Why it is read-only; empty if it can be changed."""

    @property
    def is_editable(self) -> bool:
        """Whether a case is open that can be changed."""

    def edit(self, case: Case, description: str) -> bool:
        """Change the case as an undo step."""

    def amend(self, case: Case) -> None:
        """Change parts of the case that Undo does not change."""

    def open(self, folder: Path) -> None:
        """Open a case, which replaces the current case."""

    def show_images(self, folder: Path, ids: Sequence[str]) -> None:
        """Open images of a case, which is opened before if necessary; the last one is shown."""

    def add_slide(self, folder: Path, slide: Path) -> None:
        """Close a slide with the case in a folder, if that is open."""


class CaseSlide(NamedTuple):
    """A slide in the open case; ``open_case``: to change the case. ``case``: the current values."""

    open_case: OpenCase
    store: CaseStore
    case: Case
    image: CaseImage


def find_open_case(open_case: OpenCase | None, slide: ViewerSlide, is_read: bool = False) -> CaseSlide:
    """Return a slide in the open case.

    Raises InputError if no case is open, or if the case does not contain the slide or is read-only, unless it
    ``is_read`` only.
    """
    from napari_melanoma.reports.slide import find_case_image

    if open_case is None or open_case.case is None or open_case.store is None:
        raise InputError(NO_CASE)
    image = find_case_image(open_case.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(slide_display_name(slide.info)))
    if open_case.read_only and not is_read:
        raise InputError(f"the case is read-only: {open_case.read_only}")
    return CaseSlide(open_case, open_case.store, open_case.case, image)


def find_slide_lesion(open_case: OpenCase | None, slide: ViewerSlide) -> CaseLesion | None:
    """Return the lesion of the open case, which may be read-only, that a slide belongs to; None if there is none."""
    try:
        found = find_open_case(open_case, slide, True)
    except InputError:
        return None
    return next((lesion for lesion, other in found.case.iterate_images() if other.id == found.image.id), None)
