"""The slide models of the tests: small ones that ``train_slide_models.py`` has trained on phantom slides.

Both are demonstrations. ``TILE_TEST`` classifies tiles of 128 pixels at 1 µm (benign tissue, naevus, melanoma), and
``SKIN_TEST`` segments those at 4 µm (background, dermis, epidermis, naevus, melanoma).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_melanoma.depth.breslow_candidates import DepthIntervalModel
from napari_melanoma.models.bundle import read_bundle, user_models_folder

FOLDER = Path(__file__).parent / "slide_models"
TILE_TEST, SKIN_TEST = FOLDER / "tile-test", FOLDER / "skin-test"


SKIN_ERRORS = DepthIntervalModel(0.9, (0.014, 0.004, 0.3), 3.0, 3.0, 48, "phantom slides")


def use_skin_errors(patch: pytest.MonkeyPatch) -> None:
    """State errors of ``SKIN_TEST`` on slides of known thickness, as for a model that is part of the program."""
    errors = {read_bundle(SKIN_TEST).fingerprint: SKIN_ERRORS}
    patch.setattr("napari_melanoma.slides.depth.load_interval_models", lambda: errors)


def install_slide_models() -> None:
    """Copy the models to the folder of the user's models, where programs find them by name."""
    for model in (TILE_TEST, SKIN_TEST):
        shutil.copytree(model, user_models_folder() / model.name, dirs_exist_ok=True)
