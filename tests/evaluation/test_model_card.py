"""Model cards contain the given metrics, and the limitations of the model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint
from napari_melanoma.evaluation.comparison_results import Advice, ComparedModel, Comparison
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups, draft_card
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleConfig

CONFIG = BundleConfig(
    name="small",
    title="A model",
    architecture="unet",
    threshold=0.62,
    licence="CC-BY-4.0",
    modalities=("dermoscopic",),
    provenance={
        "train_images": {"set-a": 12},
        "validation_images": 3,
        "validation_jaccard": 0.871,
        "start": "imagenet",
    },
)


def test_draft_warns_of_optimistic_metrics() -> None:
    card = draft_card(CONFIG)
    assert "- set-a: 12 images" in card
    assert "0.871, which is optimistic" in card
    assert "corrected" not in card
    assert "## Performance" not in card


def test_a_card_calls_only_metrics_used_for_selection_optimistic() -> None:
    recipe = {"keep": "last", "threshold_rule": "half"}
    config = CONFIG.model_copy(update={"provenance": {**CONFIG.provenance, "recipe": recipe}})
    card = draft_card(config)
    assert "not used to choose epoch or threshold" in card
    assert "0.871, which is not comparable" in card


def comparison(gain: float, half: float, images: int, advice: Advice = "inconclusive") -> Comparison:
    """A comparison of two models with a given difference."""

    def metrics(mean: float, half: float = 0.02) -> dict[str, Estimate]:
        return {"JA": Estimate(mean, mean - half, mean + half, images)}

    old, new = (ComparedModel(name, name, 0.5, metrics(mean)) for name, mean in (("old", 0.9), ("small", 0.9 + gain)))
    return Comparison(old, new, metrics(gain, half), (), (), (), advice, "A reason.", images, images)


@pytest.mark.parametrize(
    ("gain", "half", "images", "advice", "words"),
    [
        (
            0.05,
            0.02,
            30,
            "activate",
            ("**better**", "Use the new model.", "0.950 and was 0.900", "95 % interval +0.030 to +0.070"),
        ),
        (-0.05, 0.02, 30, "keep", ("**worse**", "0.850 and was 0.900", "-0.070 to -0.030")),
        (-0.05, 0.09, 30, "keep", ("**no significant difference**", "30 images of 30 patients or lesions")),
        (-0.05, 0.09, 30, "inconclusive", ("**inconclusive**", "-0.140 to +0.040). A reason.")),
        (-0.05, 0.0, 1, "inconclusive", ("**inconclusive**", "1 image of 1 patient or lesion", "no interval")),
    ],
)
def test_the_card_states_the_comparison_with_the_parent(
    gain: float, half: float, images: int, advice: Advice, words: tuple[str, ...]
) -> None:
    compared = comparison(gain, half, images, advice)
    card = draft_card(CONFIG, compared, {"corrected": 5, "accepted": 2, None: 4})
    assert [word for word in words if word not in card] == []
    assert "5 were corrected by hand and 2 accepted" in card
    assert "Inconclusive." not in card, "the word in bold says so"


@pytest.mark.parametrize(
    ("parent", "heading"), [(None, "old"), ({"name": "base", "fingerprint": "old"}, "its start model")]
)
def test_a_run_from_scratch_is_not_compared_with_its_start_model(parent: object, heading: str) -> None:
    """But with the shipped model, which is named."""
    config = CONFIG.model_copy(update={"provenance": {**CONFIG.provenance, "parent": parent}})
    assert f"## Comparison with {heading}\n" in draft_card(config, comparison(0.05, 0.09, 30))


def test_the_card_states_few_validation_patients() -> None:
    config = CONFIG.model_copy(
        update={"provenance": {**CONFIG.provenance, "validation_images": 3, "validation_groups": 1}}
    )
    assert "patients or lesions (imprecise: 3 validation images of 1 patient or lesion), used to" in draft_card(config)


@pytest.mark.parametrize(
    ("keep", "chose"), [("last", "used to choose the temperature"), ("best", "used to choose the epoch, the temp")]
)
def test_the_card_of_a_classifier_states_the_use_of_the_validation_set(keep: str, chose: str) -> None:
    point = OperatingPoint(
        target_sensitivity=0.95,
        threshold=0.12,
        sensitivity=0.9,
        sensitivity_interval=(0.8, 1.0),
        specificity=0.8,
        specificity_interval=(0.7, 0.9),
    )
    changes = {
        "task": "classification",
        "architecture": "image_tabular",
        "classes": ("melanoma", "nevus"),
        "classifier": ClassifierConfig(operating_point=point, coverage=0.8),
        "provenance": {"validation_images": 3, "recipe": {"keep": keep}},
    }
    config = CONFIG.model_copy(update=changes)
    assert f"images of other patients or lesions, {chose}" in draft_card(config)
    assert config.decision_threshold == 0.12  # not that of a mask, which every configuration has


def test_the_card_of_a_model_that_was_distilled_names_its_teacher() -> None:
    """Distillation was removed; its bundles are still read."""
    teacher = {"name": "big", "fingerprint": "5eed" * 16, "weight": 0.5, "temperature": 2.0, "out_of_fold": True}
    provenance = {**CONFIG.provenance, "teacher": {**teacher, "train_images": {"set-b": 7}}}
    card = draft_card(CONFIG.model_copy(update={"provenance": provenance}))
    assert "- Distilled from `big`, weights 5eed5eed5eed: " in card
    assert "7 images of set-b; they count as training images" in card


def test_an_age_group_without_an_interval_can_be_stored(tmp_path: Path) -> None:
    """Such as one with a single melanoma; files have no number for an unknown end."""
    figures = {"sensitivity": Estimate(1.0, math.nan, math.nan, 1), "specificity": Estimate(0.5, 0.2, 0.8, 8)}
    ages = age_groups([CardSubgroup("age: 30 to 49", 9, 1, figures)])
    write_json(tmp_path / "config.json", ClassifierConfig(ages=ages).model_dump(mode="json"))
    stored = ClassifierConfig.parse(read_json(tmp_path / "config.json"), "the test")
    assert stored.ages == ages
    assert (ages[0].sensitivity_interval, ages[0].specificity_interval) == ((0, 1), (0.2, 0.8))
