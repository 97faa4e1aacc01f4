"""A phantom on disk: image, mask and truth with fixed names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom, save_lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig


def test_image_mask_and_truth_are_written_and_read_back(tmp_path: Path) -> None:
    phantom = lesion_phantom(LesionPhantomConfig(seed=7, size=(60, 80)))
    image = save_lesion_phantom(phantom, tmp_path / "new", "lesion-7")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "lesion-7.png",
        "lesion-7.truth.json",
        "lesion-7_mask.png",
    ]
    assert np.array_equal(read_photograph(image).rgb, phantom.rgb)
    assert np.array_equal(read_mask(tmp_path / "new" / "lesion-7_mask.png"), phantom.mask)
    assert json.loads((tmp_path / "new" / "lesion-7.truth.json").read_text("utf-8")) == phantom.parameters


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SaveError, match="cannot write"):
        save_lesion_phantom(lesion_phantom(LesionPhantomConfig(size=(16, 16))), tmp_path / "taken", "x")
