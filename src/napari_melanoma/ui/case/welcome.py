"""What the Case dock shows where no case is open: drop a folder, open a case, begin an empty one, go on with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.ui.look import ThemedIcons
from napari_melanoma.ui.welcome import Welcome

MOST = 5
RECENT = "recent:"


class CaseWelcome(Welcome):
    """An area for the images of one patient."""

    def __init__(self, icons: ThemedIcons) -> None:
        self._recent: list[Path] = []
        super().__init__(icons)
        self.setAccessibleName("Drop the images of one patient here")
        self.setToolTip("A folder, images, a table (CSV) that names some, DICOM files, or the folder of a case")

    def set_recent(self, folders: Sequence[Path]) -> None:
        """Offer cases to go on with."""
        self._recent = list(folders)[:MOST]
        self._say()

    def _say(self) -> None:
        """Write the invitation in the colours of the theme."""
        links = {name: self._icons.link(name, said) for name, said in LINKS.items()}
        recent = "<br>".join(self._icons.link(f"{RECENT}{path}", path.name) for path in self._recent)
        went_on = f"<p>Go on with<br>{recent}</p>" if recent else ""
        self._words.setText(
            "<p style='font-size: 14pt'>Drop the images of one patient here,</p>"
            f"<p style='font-size: 11pt'>or {links['folder']}, {links['open']}, {links['new']}, "
            f"or {links['sample']}.</p>"
            "<p>Lesions, places and modalities are guessed from names, tables and headers, for you to confirm. "
            f"All that you do is saved by itself.</p>{went_on}"
        )


LINKS = {
    "folder": "choose their folder",
    "open": "open a case",
    "new": "begin an empty one",
    "sample": "try the sample",
}
