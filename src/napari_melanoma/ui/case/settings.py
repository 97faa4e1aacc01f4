"""What the Case dock remembers of a user: the cases that were open, where, and which images were in view."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_melanoma.data.case.files import CASE
from napari_melanoma.ui.settings import Settings

KEPT = 8


class CaseSettings(Settings):
    """The values of ``Settings``, and those of the Case dock."""

    @property
    def recent(self) -> list[Path]:
        """Folders of cases, the last one first; those that are gone are left out."""
        return [path for path in map(Path, self.kept("case/recent", [])) if (path / CASE).is_file()]

    def remember(self, folder: Path) -> None:
        """Put a case at the head of the recent ones."""
        kept = [str(path) for path in (folder, *(path for path in self.recent if path != folder))]
        self.keep("case/recent", kept[:KEPT])

    @property
    def place(self) -> Path:
        """Where a dialog begins."""
        recent = self.recent
        return recent[0].parent if recent else Path.home()

    def shown(self, folder: Path) -> list[str]:
        """List the images of a case that were open in the viewer.

        Returns their ids, the one in view last.
        """
        return self.kept(_key(folder), [])

    def set_shown(self, folder: Path, images: list[str]) -> None:
        """Remember which images of a case are open in the viewer."""
        self.keep(_key(folder), images)


def _key(folder: Path) -> str:
    """Where the images of a case are kept; a path may name a person, so it is not written."""
    return f"case/shown/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
