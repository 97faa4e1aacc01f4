"""Recognition of the modality, and its warnings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from napari_melanoma.imaging.modality import (
    CERTAIN_FROM,
    MODALITY_KINDS,
    WEIGHTS,
    ModalityEstimate,
    appearance_features,
    assumed_modality,
    modality_warning,
    own_type_probability,
    recognize_modality,
    select_modality,
)
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

BOTH = ("dermoscopic", "macroscopic")
NEITHER_SAID = "does not look like a photograph of a skin lesion"
MISMATCH_SAID = "looks like a macroscopic photograph, and the model was trained on dermoscopic photographs only"


@pytest.mark.parametrize(
    ("kind", "modalities", "expected"),
    [
        ("dermoscopic", ("dermoscopic",), 0.8),
        ("macroscopic", ("dermoscopic",), 0.2),
        ("neither", BOTH, 0.2),
        ("dermoscopic", (), None),
        ("dermoscopic", ("slide",), None),
        ("dermoscopic", ("dermoscopic", "tbp_tile"), None),
    ],
)
def test_probability_of_the_types_of_a_model(kind, modalities: tuple[str, ...], expected: float | None) -> None:
    assert own_type_probability(ModalityEstimate(kind, 0.8), modalities) == (
        None if expected is None else pytest.approx(expected)
    )


@dataclass(frozen=True)
class Case:
    """The estimate, the model's modalities, the modality stated in the file, and the warning."""

    name: str
    looks: ModalityEstimate
    modalities: tuple[str, ...]
    stated: str | None
    message: str


CASES = [
    Case("they match", ModalityEstimate("macroscopic", 0.99), BOTH, None, ""),
    Case("another kind", ModalityEstimate("macroscopic", 0.99), ("dermoscopic",), None, MISMATCH_SAID),
    Case("another kind, unsure", ModalityEstimate("macroscopic", 0.6), ("dermoscopic",), None, ""),
    Case("no photograph of skin", ModalityEstimate("neither", 0.95), BOTH, None, NEITHER_SAID),
    Case("no photograph of skin, unsure", ModalityEstimate("neither", 0.6), BOTH, None, ""),
    Case("the model has no modality", ModalityEstimate("macroscopic", 0.99), (), None, ""),
    Case(
        "a statement does not make a photograph", ModalityEstimate("neither", 0.99), BOTH, "dermoscopic", NEITHER_SAID
    ),
    Case("the file states a matching modality", ModalityEstimate("neither", 0.6), BOTH, "dermoscopic", ""),
    Case(
        "a modality that is not recognized is stated",
        ModalityEstimate("neither", 0.99),
        BOTH,
        "slide",
        "This is a slide",
    ),
    Case(
        "the file states another modality",
        ModalityEstimate("dermoscopic", 0.5),
        BOTH,
        "tbp_tile",
        "This is a tbp tile photograph",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_warning(case: Case) -> None:
    warning = modality_warning(case.looks, case.modalities, case.stated)
    assert case.message in warning
    assert bool(warning) == bool(case.message)


@pytest.mark.parametrize(
    ("estimate", "stated", "selected", "assumed_by_dermoscopic", "assumed_by_macroscopic"),
    [
        (ModalityEstimate("macroscopic", 0.999), None, "macroscopic", "macroscopic", "macroscopic"),
        (ModalityEstimate("macroscopic", 0.95), None, "dermoscopic", "macroscopic", "macroscopic"),
        (ModalityEstimate("macroscopic", 0.55), None, "dermoscopic", "dermoscopic", "macroscopic"),
        (ModalityEstimate("dermoscopic", 0.55), None, "dermoscopic", "dermoscopic", "dermoscopic"),
        (ModalityEstimate("neither", 0.55), None, "neither", "neither", "neither"),
        (ModalityEstimate("macroscopic", 0.99), "dermoscopic", "dermoscopic", "dermoscopic", "dermoscopic"),
        (ModalityEstimate("neither", 0.99), "macroscopic", "macroscopic", "macroscopic", "macroscopic"),
    ],
)
def test_a_guess_selects_the_smartphone_model_only_if_it_is_certain(
    estimate: ModalityEstimate,
    stated: str | None,
    selected: str,
    assumed_by_dermoscopic: str,
    assumed_by_macroscopic: str,
) -> None:
    assert select_modality(estimate, stated) == selected
    assert assumed_modality(estimate, stated, ("dermoscopic",)) == assumed_by_dermoscopic
    assert assumed_modality(estimate, stated, ("macroscopic",)) == assumed_by_macroscopic


def noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def stripes() -> NDArray[np.uint8]:
    rows = np.zeros((90, 120, 3), np.uint8)
    rows[::9] = (0, 90, 255)
    return rows


@pytest.mark.parametrize(
    "picture",
    [noise(200), np.zeros((50, 60, 3), np.uint8), np.full((50, 60, 3), 255, np.uint8), stripes()],
    ids=["noise", "black", "white", "stripes"],
)
def test_other_images_are_neither(picture: NDArray[np.uint8]) -> None:
    found = recognize_modality(picture)
    assert (found.kind, found.is_certain) == ("neither", True)


@pytest.mark.parametrize("name", ["astronaut", "hubble_deep_field", "rocket"])
def test_other_photographs_are_neither(name: str) -> None:
    from skimage import data

    found = recognize_modality(getattr(data, name)())
    assert (found.kind, found.is_certain) == ("neither", True)


@pytest.mark.slow
@pytest.mark.parametrize("modality", BOTH)
@pytest.mark.parametrize("seed", [1000, 1001])
def test_the_sample_lesions_cause_no_warning(modality: str, seed: int) -> None:
    found = recognize_modality(lesion_phantom(LesionPhantomConfig(seed=seed, modality=modality)).rgb)
    assert modality_warning(found, BOTH) == ""


def test_it_does_not_matter_which_way_up_a_photograph_is() -> None:
    rgb = lesion_phantom(LesionPhantomConfig(seed=3, size=(240, 240))).rgb
    upright = recognize_modality(rgb)
    for turned in (rgb[::-1], rgb[:, ::-1], rgb.transpose(1, 0, 2)):
        found = recognize_modality(np.ascontiguousarray(turned))
        assert (found.kind, found.probability) == (upright.kind, pytest.approx(upright.probability, abs=0.01))


def test_it_hardly_matters_how_large_a_photograph_is() -> None:
    rgb = lesion_phantom(LesionPhantomConfig(seed=3, size=(300, 400))).rgb
    large = np.asarray(Image.fromarray(rgb).resize((1600, 1200), Image.Resampling.BICUBIC))
    small, found = recognize_modality(rgb), recognize_modality(large)
    assert (found.kind, found.probability) == (small.kind, pytest.approx(small.probability, abs=0.1))


def test_the_weights_are_those_of_the_features() -> None:
    with safe_open(WEIGHTS, "numpy") as fitted:
        stored = {name: json.loads(text) for name, text in fitted.metadata().items()}
    assert stored == {"kinds": list(MODALITY_KINDS), "features": list(appearance_features(noise(8)))}


@pytest.mark.parametrize(
    ("folder", "kind"), [("isic2017", "dermoscopic"), ("ph2", "dermoscopic"), ("pad_ufes", "macroscopic")]
)
def test_real_photographs_that_were_not_fitted_to(shared_data: Path, folder: str, kind: str) -> None:
    from napari_melanoma.data.dataset import read_dataset

    tested = [sample.image for sample in read_dataset(shared_data / folder) if sample.split == "val"][:24]
    found = [recognize_modality(np.asarray(Image.open(path).convert("RGB"))) for path in tested]
    assert sum(item.kind == kind for item in found) >= 0.85 * len(found)
    assert sum(item.kind != kind and item.probability >= CERTAIN_FROM for item in found) <= 1


@pytest.mark.parametrize("folder", ["isic2017_sharp", "ph2"])
def test_no_dermoscopic_photograph_is_assessed_by_the_smartphone_model(shared_data: Path, folder: str) -> None:
    from napari_melanoma.data.dataset import read_dataset

    fitted = {one.image_id for one in read_dataset(shared_data / "isic2017") if one.split == "train"}
    paths = [path for path in sorted((shared_data / folder / "images").glob("*.jpg")) if path.stem not in fitted][::5]
    selected = [select_modality(recognize_modality(np.asarray(Image.open(path).convert("RGB")))) for path in paths]
    assert len(selected) > 5
    assert "macroscopic" not in selected
