"""What the Train dock shows before there is anything to learn from."""

from __future__ import annotations

from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.welcome import Welcome


class TrainWelcome(Welcome):
    """An area for folders, with links that do what they say: ``lesion`` and ``folder``."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__(icons)
        named(self, "welcome", "Correct masks or choose a folder", "Drop a folder with dataset.csv here")

    def _say(self) -> None:
        """Write the invitation in the colours of the theme."""
        lesion = self._icons.link("lesion", "Correct masks in the Lesion dock")
        folder = self._icons.link("folder", "choose a folder")
        self._words.setText(
            f"<p style='font-size: 14pt'>{lesion}<br>and add them,</p>"
            f"<p style='font-size: 11pt'>or {folder} with dataset.csv, or drop one here.</p>"
        )
