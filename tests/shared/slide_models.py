"""The slide models of the tests: small ones that ``train_slide_models.py`` has trained on phantom slides.

Both are demonstrations. ``TILE_TEST`` classifies tiles of 128 pixels at 1 µm (benign tissue, naevus, melanoma), and
``SKIN_TEST`` segments those at 4 µm (background, dermis, epidermis, naevus, melanoma).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_melanoma.models.bundle import user_models_folder

FOLDER = Path(__file__).parent / "slide_models"
TILE_TEST, SKIN_TEST = FOLDER / "tile-test", FOLDER / "skin-test"


def install_slide_models() -> None:
    """Copy the models to the folder of the user's models, where programs find them by name."""
    for model in (TILE_TEST, SKIN_TEST):
        shutil.copytree(model, user_models_folder() / model.name, dirs_exist_ok=True)
