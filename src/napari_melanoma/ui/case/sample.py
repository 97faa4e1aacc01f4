"""A made-up patient to try the Case dock with: three lesions, five phantom images, named as people name files."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.lesion import lesion_phantom
from napari_melanoma.io.results import write_rgb

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
