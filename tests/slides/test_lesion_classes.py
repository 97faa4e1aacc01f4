"""Lesion maps from the classes of a model: presence, malignancy, or neither."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.slides.lesions import LesionConfig, build_lesion_maps, default_lesion_class, find_lesions
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.outputs import target_class
from napari_melanoma.slides.results import default_target, list_tissue_classes
from napari_melanoma.slides.tile_models import TileModelInfo


class Case(NamedTuple):
    """Classes of a model with their probabilities, the same everywhere, and what the one lesion is called."""

    name: str
    classes: tuple[str, ...]
    values: tuple[float, ...]
    target: str
    draws: bool
    label: str
    probability: float


CASES = [
    Case(
        "it draws one lesion class",
        ("background", "epidermis", "dermis", "tumour"),
        (0, 0.1, 0.1, 0.8),
        "tumour",
        True,
        "tumour",
        0.8,
    ),
    Case("barely a tumor", ("background", "tumour"), (0.4, 0.6), "tumour", True, "tumour", 0.6),
    Case("it draws melanomas alone", ("background", "melanoma"), (0.2, 0.8), "melanoma", True, "melanoma", 0.8),
    Case("it draws both", ("background", "naevus", "melanoma"), (0.1, 0.6, 0.3), "melanoma", True, "benign", 0.3),
    Case("tiles of a tumor", ("normal", "Tumor"), (0.3, 0.7), "Tumor", False, "Tumor", 0.7),
    Case("tiles, two classes", ("benign", "melanoma"), (0.3, 0.7), "melanoma", False, "malignant", 0.7),
    Case(
        "tiles, three classes",
        ("benign tissue", "naevus", "melanoma"),
        (0.1, 0.2, 0.7),
        "melanoma",
        False,
        "malignant",
        0.7,
    ),
    Case("tiles of healthy skin", ("Dermis", "Epidermis"), (0.1, 0.9), "Epidermis", False, "Epidermis", 0.9),
    Case("epidermis, nevi known", ("Naevus", "Epidermis"), (0.1, 0.9), "Epidermis", False, "Epidermis", 0.9),
    Case("one spelling of nevi", ("Blue naevus", "Epidermis"), (0.9, 0.1), "Blue naevus", False, "Blue nevus", 0.9),
    Case("the benign class itself", ("benign", "melanoma"), (0.8, 0.2), "benign", False, "benign", 0.8),
    Case("drawn by hand, metastases", ("Dermis", "Metastasis"), (0.1, 0.9), "Metastasis", False, "malignant", 0.9),
    Case(
        "a weak melanoma beside a weaker nevus",
        ("benign tissue", "naevus", "melanoma"),
        (0.36, 0.28, 0.36),
        "melanoma",
        False,
        "malignant",
        0.36,
    ),
    Case(
        "tiles, a nevus",
        ("benign tissue", "naevus", "melanoma"),
        (0.1, 0.7, 0.2),
        "melanoma",
        False,
        "benign",
        0.2,
    ),
]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("background", "epidermis", "tumour"), "tumour"),
        (("Tumor", "Stroma"), "Tumor"),
        (("melanoma", "naevus"), "melanoma"),
        (("Dermis", "Metastasis", "Nevus"), "Metastasis"),
        (("melanoma", "tumor-infiltrating lymphocytes", "peritumoral stroma"), "melanoma"),
        (("Naevus", "Background"), "Naevus"),
        (("background", "epidermis"), "epidermis"),
        (("melanoma", "non-melanoma"), "melanoma"),
        (("Not melanoma", "melanoma"), "melanoma"),
        (("Melanom", "kein Melanom"), "Melanom"),
        (("malignant", "non-malignant"), "malignant"),
        (("Tumor", "Non-tumor", "Tumor stroma"), "Tumor"),
        (("mélanome", "nævus", "derme"), "mélanome"),
        (("Hintergrund", "Karzinom", "Nävus"), "Karzinom"),
        (("melanoma in situ", "invasive melanoma"), ""),  # open which
        (("primary tumor", "lesion"), ""),
    ],
)
def test_lesions_are_detected_with_the_class_of_a_tumor(classes: tuple[str, ...], expected: str) -> None:
    assert default_lesion_class(classes) == expected


def test_equally_good_classes_are_a_question() -> None:
    classes = ("background", "melanoma in situ", "invasive melanoma")
    model = TileModelInfo("layers", "dense", classes, 32, 0.5, positive=default_lesion_class(classes))
    with pytest.raises(ConfigError, match="several classes of lesions: melanoma in situ, invasive melanoma"):
        target_class(model, SlideOptions())
    assert target_class(model, SlideOptions(target="invasive melanoma")) == "invasive melanoma"
    assert default_target(classes, {}) == "melanoma in situ"  # shown first, until a class is selected


@pytest.mark.parametrize("name", ["non-melanoma", "Non-malignant", "tumor stroma"])
def test_a_negated_class_is_not_malignant(name: str) -> None:
    values = np.full((2, 4, 4), 0.5, np.float32)
    maps = build_lesion_maps(values, MapPlacement(0, 0, 10, 10), ("other", name), name, is_dense=False)
    assert maps.label == name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lesion_label_follows_the_classes_of_the_model(case: Case) -> None:
    maps = np.broadcast_to(np.array(case.values, np.float32)[:, None, None], (len(case.values), 4, 4))
    place = MapPlacement(0, 0, 10, 10, PixelSize(1, 1))
    (lesion,) = find_lesions(
        build_lesion_maps(maps, place, case.classes, case.target, is_dense=case.draws), LesionConfig()
    )
    assert (lesion.label, lesion.probability) == (case.label, pytest.approx(case.probability, abs=1e-6))
    if lesion.label in ("malignant", "benign") and case.target != "benign":
        assert (lesion.class_probability >= 0.5) == (lesion.label == "malignant")  # the number fits the name


def test_background_is_known_in_all_languages() -> None:
    classes = ("Hintergrund", "glass", "fondo", "Epidermis", "Glas")
    assert list_tissue_classes(classes, {}) == ["Epidermis"]
