"""Class names are read word by word, with negation, in the languages of the taxonomy."""

from __future__ import annotations

import csv
from itertools import permutations

import pytest

from napari_melanoma.data.class_names import excludes_lesion, find_lesion_classes, read_class_name
from napari_melanoma.data.taxonomy import TAXONOMY_FOLDER, load_taxonomy

MEANINGS = {
    "melanoma": ("Melanoma", "invasive melanoma", "Melanom", "mélanome", "melanoom", "lentigo maligna", "MM"),
    "malignant": ("Malignant", "bösartig", "Metástasis", "cancro", "non-melanoma skin cancer", "malignant tissue"),
    "tumor": ("Tumor", "Tumour cells", "Tumeur", "lesione", "Tumor: Negative", "tumor with lymphocytes"),
    "nevus": ("Blue naevus", "Nävus", "nævus", "nevo", "not melanoma but nevus", "Nevi: Positive"),
    "benign": ("benign tumor", "gutartig", "Non-malignant", "nicht maligne", "não maligno", "niet kwaadaardig"),
    "ambiguous": ("nevus or melanoma", "melanoma?", "benign/malignant", "melanoma in nevus", "atypical Spitz tumor"),
    "structure": (
        "Non-tumor",
        "No tumor",
        "Not melanoma",
        "nonmelanoma",
        "tumor-free",
        "absence of melanoma",
        "Stroma",
    ),
    "background": ("background", "Glass", "Hintergrund", "fondo"),
    "": ("", "Region*", "Positive", "tumorous", "peritumoral", "nichts", "no"),
}


STRUCTURES = ("tumor stroma", "benign tissue", "lymphocytes in tumor", "tumor-infiltrating lymphocytes", "normal skin")
NEGATED = (
    "kein Tumor",
    "pas de mélanome",
    "sin tumor",
    "senza tumore",
    "sem tumor",
    "geen melanoom",
    "no tumor or nevus",
)
MEANINGS["structure"] = (*MEANINGS["structure"], *STRUCTURES, *NEGATED)
# A negated property does not negate the lesion that has it
MEANINGS["melanoma"] = (
    *MEANINGS["melanoma"],
    *("non-invasive melanoma", "non-metastatic melanoma", "non-pigmented melanoma", "nicht invasives Melanom"),
    *("niet-invasief melanoom", "mélanome non invasif", "BRAF-negative melanoma", "melanoma S100 negative"),
)
MEANINGS["malignant"] = (*MEANINGS["malignant"], "nonmelanoma skin cancer", "non-melanocytic carcinoma")
MEANINGS["nevus"] = (*MEANINGS["nevus"], "non-dysplastic nevus")
MEANINGS["tumor"] = (*MEANINGS["tumor"], "non-necrotic tumor", "non-metastatic tumor", "S100-negative tumor")
MEANINGS["benign"] = (*MEANINGS["benign"], "non-malignant tumor", "lésion non maligne")
MEANINGS["structure"] = (
    *MEANINGS["structure"],
    *("no metastasis", "non-metastatic", "free of tumor cells", "Gewebe frei von Tumor", "nicht ein Melanom"),
)


@pytest.mark.parametrize(
    ("meaning", "name"), [(meaning, name) for meaning, names in MEANINGS.items() for name in names]
)
def test_names_of_classes(meaning: str, name: str) -> None:
    assert (
        read_class_name(name)
        == read_class_name(name.upper())
        == read_class_name(f" {name.replace(' ', '_')} ")
        == meaning
    )


def test_each_word_is_read_with_its_meaning_and_its_negation_in_each_language() -> None:
    """Diagnoses that the taxonomy knows precede words."""
    nots: dict[str, list[str]] = {}
    with (TAXONOMY_FOLDER / "class_word_synonyms.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["target"] in ("not", "non"):
            nots.setdefault(row["language"], []).append(row["source"])
    assert set(nots) == {"en", "de", "fr", "es", "it", "pt", "nl"}
    for row in rows:
        if row["target"] not in ("melanoma", "malignant", "spread", "tumor", "nevus", "benign"):
            continue
        assert read_class_name(row["source"]) == row["target"].replace("spread", "malignant"), row
        for word in nots[row["language"]]:
            negated = read_class_name(f"{word} {row['source']}")
            assert negated == {"malignant": "benign", "benign": "malignant"}.get(row["target"], "structure"), (
                word,
                row,
            )


def test_each_diagnosis_of_the_taxonomy_means_what_its_group_states() -> None:
    diagnoses = load_taxonomy("diagnosis")
    malignant = [word for word in diagnoses.words if diagnoses.is_within(word, "malignant")]
    benign = [word for word in diagnoses.words if diagnoses.is_within(word, "benign")]
    assert {read_class_name(word) for word in malignant} == {"malignant", "melanoma"}
    assert {read_class_name(word) for word in benign} == {"benign", "nevus"}


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        *(("non melanoma", True), ("nonmelanoma", True), ("no evidence of melanoma", True), ("kein Melanom", True)),
        *(("melanoma", False), ("no melanoma?", False), ("not nevus", False), ("not melanoma but melanoma", False)),
    ],
)
def test_names_that_exclude_melanoma(name: str, excluded: bool) -> None:
    assert excludes_lesion(name, "melanoma") == excluded


def test_the_order_of_classes_changes_nothing() -> None:
    for classes in (
        ("nevus", "melanoma", "non-melanoma"),
        ("Tumor", "Stroma", "Non-tumor"),
        ("a", "melanoma?", "nevo"),
    ):
        assert len({frozenset(find_lesion_classes(order)) for order in permutations(classes)}) == 1
    assert find_lesion_classes(()) == ()
