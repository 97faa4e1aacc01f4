"""The folders of the results of a slide, as found when it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.session.tissue import TissueState

if TYPE_CHECKING:
    from napari_melanoma.slides.notes import NotesFile, SlideNotes


@dataclass(frozen=True)
class SlideResultLocation:
    """Folders of the results of a slide, with its notes and tissue, and whether it was analyzed."""

    identity: str
    out: Path  # output folder that contains ``folder``
    folder: Path
    notes: SlideNotes
    notes_file: NotesFile = field(compare=False)  # file of ``notes``
    is_analyzed: bool
    view_folder: Path  # results of an analysis of the view only; in the slide's own folder
    is_view_analyzed: bool = False
    tissue: TissueState = field(default_factory=TissueState, compare=False)
    tissue_error: str = ""  # why the tissue cannot be read
    slide_folder: Path | None = None  # the slide's own folder, also while ``folder`` is ``view_folder``
    is_phantom: bool = False  # the slide is synthetic
    known_notes: SlideNotes | None = field(default=None, compare=False)  # of the session when the search began

    @property
    def view_out(self) -> Path:
        """Output folder that contains ``view_folder``."""
        return self.view_folder.parent

    @property
    def of_view(self) -> SlideResultLocation:
        """The location of the results of the view."""
        return replace(self, out=self.view_out, folder=self.view_folder, is_analyzed=self.is_view_analyzed)
