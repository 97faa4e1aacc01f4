"""What the Case dock remembers, and its sample case."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_melanoma.case.store import CASE
from napari_melanoma.core.context import RunContext
from napari_melanoma.io.results import write_rgb
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.ui.widgets.settings import DockSettings

MAX_RECENT = 8


class CaseSettings(DockSettings):
    """The values of ``Settings``, and those of the Case dock."""

    @property
    def recent(self) -> list[Path]:
        """Folders of cases, the last one first; those that are gone are left out."""
        return [path for path in map(Path, self.get("case/recent", [])) if (path / CASE).is_file()]

    def add_recent(self, folder: Path) -> None:
        """Put a case at the head of the recent ones."""
        kept = [str(path) for path in (folder, *(path for path in self.recent if path != folder))]
        self.set("case/recent", kept[:MAX_RECENT])

    @property
    def default_folder(self) -> Path:
        """Where a dialog begins."""
        recent = self.recent
        return recent[0].parent if recent else Path.home()

    def get_open_images(self, folder: Path) -> list[str]:
        """List the images of a case that were open in the viewer.

        Returns their ids, the one in view last.
        """
        return self.get(_open_images_key(folder), [])

    def set_open_images(self, folder: Path, images: list[str]) -> None:
        """Remember which images of a case are open in the viewer."""
        self.set(_open_images_key(folder), images)


def _open_images_key(folder: Path) -> str:
    """Where the images of a case are kept; a path may name a person, so it is not written."""
    return f"case/shown/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"


SIZE = 320
NAMES = (
    "back_left_1_dermoscopy",
    "back_left_1_macro",
    "forearm_right_2_dermoscopy",
    "forearm_right_2_macro",
    "cheek_3_dermoscopy",
)


def write_sample(folder: Path, run: RunContext) -> Path:
    """Draw the images; meant for a thread."""
    for seed, name in enumerate(run.track(NAMES, "Drawing the sample")):
        modality = "dermoscopic" if "dermo" in name else "macroscopic"
        config = LesionPhantomConfig(seed=seed, modality=modality, size=(SIZE, SIZE))
        write_rgb(folder / f"{name}.png", lesion_phantom(config).rgb)
    return folder
