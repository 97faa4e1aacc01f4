"""Lesion maps from the classes of a model: presence, malignancy, or neither."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.slides.lesions import LesionConfig, build_lesion_maps, default_lesion_class, find_lesions


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
    Case("tile-demo", ("benign tissue", "naevus", "melanoma"), (0.1, 0.2, 0.7), "melanoma", False, "malignant", 0.7),
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
        "tile-demo, naevus",
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
    ],
)
def test_lesions_are_detected_with_the_class_of_a_tumor(classes: tuple[str, ...], expected: str) -> None:
    assert default_lesion_class(classes) == expected


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
