"""Settings of the Case dock, and its sample case."""

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
    """Settings of all docks, and those of the Case dock."""

    @property
    def recent(self) -> list[Path]:
        """Folders of recent cases, the last one first, without missing ones."""
        return [path for path in map(Path, self.get("case/recent", [])) if (path / CASE).is_file()]

    def add_recent(self, folder: Path) -> None:
        """Add a case to the recent ones."""
        kept = [str(path) for path in (folder, *(path for path in self.recent if path != folder))]
        self.set("case/recent", kept[:MAX_RECENT])

    @property
    def default_folder(self) -> Path:
        """Initial folder of dialogs."""
        recent = self.recent
        return recent[0].parent if recent else Path.home()

    def get_open_images(self, folder: Path) -> list[str]:
        """Return the ids of the images of a case that were open, the shown one last."""
        return self.get(_open_images_key(folder), [])

    def set_open_images(self, folder: Path, images: list[str]) -> None:
        """Store which images of a case are open."""
        self.set(_open_images_key(folder), images)


def _open_images_key(folder: Path) -> str:
    """Return the settings key of a case; the path is hashed, because it may contain a person's name."""
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
    """Generate the images, in a thread."""
    for seed, name in enumerate(run.track(NAMES, "Generating the sample")):
        modality = "dermoscopic" if "dermo" in name else "macroscopic"
        config = LesionPhantomConfig(seed=seed, modality=modality, size=(SIZE, SIZE))
        write_rgb(folder / f"{name}.png", lesion_phantom(config).rgb)
    return folder
