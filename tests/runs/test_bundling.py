"""The modalities of a new bundle, networks that diverged, and the names of sample pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import TrainingDiverged
from napari_melanoma.data.dataset import Sample
from napari_melanoma.imaging.modality import own_type_probability, recognize_modality
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.runs.bundling import NetworkOutputs, _without_folders, choose_modalities, recognize_own_types
from napari_melanoma.runs.task_setups import name_samples
from napari_melanoma.training.recipe import TrainRecipe


@pytest.mark.parametrize(
    ("named", "seen", "expected"),
    [
        ((), ["macroscopic", "dermoscopic", "macroscopic"], ("dermoscopic", "macroscopic")),
        (("tbp_tile",), ["dermoscopic"], ("tbp_tile", "dermoscopic")),
        ((), [None, None], ()),
        ((), ["macroscopic", None], ()),  # "macroscopic only" would be wrong
        (("dermoscopic",), ["macroscopic", None], ("dermoscopic", "macroscopic")),
    ],
)
def test_the_modalities_include_those_of_the_training_images(
    named: tuple[str, ...], seen: list[str | None], expected: tuple[str, ...]
) -> None:
    assert choose_modalities(named, seen) == expected


def test_the_recorded_recipe_contains_no_path(tmp_path: Path) -> None:
    """A bundle may be published; paths contain the names of users."""
    classification = {"features": str(tmp_path / "f.csv"), "segmenter": str(tmp_path / "model")}
    values = {
        "task": "classification",
        "data": {"datasets": [str(tmp_path / "data")]},
        "model": {"start": str(tmp_path / "weights.pth")},
        "classification": {**classification, "adaptation": {"to": [str(tmp_path / "other")]}},
    }
    recorded = _without_folders(TrainRecipe.parse(values, "the test"))
    assert str(tmp_path) not in json.dumps(recorded)
    assert recorded["classification"]["adaptation"]["to"] == ["other"]


def test_sample_pictures_of_two_data_sets_have_different_names() -> None:
    """Data sets may use the same ids; one picture would replace the other."""
    images = [("first", "i1"), ("second", "i1"), ("second", "i2")]
    samples = [Sample(name, Path("x.png"), None, name, "", domain) for domain, name in images]
    assert name_samples(samples) == ["first/i1", "second/i1", "i2"]


def test_types_are_recognized_in_photographs_only(tmp_path: Path) -> None:
    phantom = lesion_phantom(LesionPhantomConfig(seed=1, modality="dermoscopic"))
    Image.fromarray(phantom.rgb).save(tmp_path / "a.png")
    samples = [Sample(name, tmp_path / name, None, name, "", "x") for name in ("a.png", "moved.png")]
    found = recognize_own_types(samples, ("dermoscopic",), RunContext())
    assert found is not None
    assert found == pytest.approx([own_type_probability(recognize_modality(phantom.rgb), ("dermoscopic",))])
    assert recognize_own_types(samples, ("slide",), RunContext()) is None
    assert recognize_own_types(samples, (), RunContext()) is None


def test_outputs_that_are_not_finite_are_refused() -> None:
    logits, embeddings = np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)
    NetworkOutputs(logits, np.zeros(4, np.int64), embeddings)
    logits[0, 1], embeddings[2] = np.nan, np.inf
    with pytest.raises(TrainingDiverged, match=r"not finite numbers, for 2 of 4 images: .* lower learning_rate"):
        NetworkOutputs(logits, np.zeros(4, np.int64), embeddings)
