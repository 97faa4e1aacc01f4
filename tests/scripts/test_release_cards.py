"""The cards of shipped models: metrics on other images, contribution of clinical metadata, and subgroups."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups
from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.installed_bundles import find_bundle, find_classifier

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from release_cards import (
    LIMITS,
    OUTSIDE_FIGURES,
    CrossValidationMetrics,
    full_card,
    full_class_card,
    outside_section,
)
from release_classifier import NOTES
from release_model import DATA_NOTES, HELD_OUT

POINT = OperatingPoint(
    target_sensitivity=0.95,
    threshold=0.12,
    sensitivity=0.9,
    sensitivity_interval=(0.8, 1.0),
    specificity=0.8,
    specificity_interval=(0.7, 0.9),
)


def config() -> BundleConfig:
    return BundleConfig(
        name="example",
        title="An example",
        task="classification",
        architecture="image_tabular",
        input_size=160,
        classes=("melanoma", "nevus"),
        classifier=ClassifierConfig(operating_point=POINT, coverage=0.8),
        licence="CC-BY-4.0",
        provenance={"train_images": {"set-a": 12}, "validation_images": 3, "recipe": {"keep": "last"}},
    )


def estimate(mean: float, half: float = 0.02) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 500)


def found(gain: Estimate) -> CrossValidationMetrics:
    by_input = {
        "photo, metadata": {"AUC": estimate(0.83), "sensitivity": estimate(0.91), "ECE": estimate(0.03)},
        "metadata alone": {"AUC": estimate(0.69)},
    }
    sets = {name: estimate(0.8 - 0.1 * index) for index, name in enumerate(SETS)}
    return CrossValidationMetrics(
        5, 0.19, by_input, gain, sets, [CardSubgroup("age: 0 to 29", 40, 4, {"sensitivity": estimate(0.4)})]
    )


SETS = ("held", "held of the positive", "inconclusive", "out_of_distribution")


@pytest.mark.parametrize(
    ("gain", "effect"),
    [((0.03, 0.01), "improve"), ((-0.03, 0.01), "worsen"), ((0.01, 0.02), "do not significantly change")],
)
def test_the_card_states_the_effect_of_clinical_metadata(gain: tuple[float, float], effect: str) -> None:
    card = full_class_card(config(), found(estimate(*gain)), {"elsewhere": {"AUC": estimate(0.7)}}, "## Data\n")
    assert f"Clinical metadata {effect} the AUC of melanoma: {gain[0]:+.3f}" in card


def test_metrics_have_intervals_and_unknown_ones_are_empty() -> None:
    card = full_class_card(config(), found(estimate(0.03)), {"elsewhere": {"AUC": estimate(0.7)}}, "## Data\n")
    lines = card.splitlines()
    assert (
        "| photo, metadata | 500 | 0.830 (0.810 to 0.850) |  | 0.910 (0.890 to 0.930) |  | 0.030 (0.010 to 0.050) |"
        in lines
    )
    assert "| metadata alone | 500 | 0.690 (0.670 to 0.710) |  |  |  |  |" in lines
    assert "| age: 0 to 29 | 40 | 4 |  | 0.400 (0.380 to 0.420) |  |" in lines
    assert "| elsewhere | 500 | 0.700 (0.680 to 0.720) |  |  |  |  |" in lines
    assert "5 networks trained with this recipe" in card
    assert "for a sensitivity of 0.95" in card
    assert "nominal coverage of 80 %" in card
    assert card.rstrip().endswith("## Data")


def test_age_groups_of_a_bundle() -> None:
    sides = {"sensitivity": estimate(0.6, 0.1), "specificity": estimate(0.8)}
    found = age_groups(
        [
            CardSubgroup("age: 70 and over", 50, 20, sides),
            CardSubgroup("age: 30 to 49", 90, 9, sides),
            CardSubgroup("age: 0 to 29", 40, 0, {"specificity": estimate(0.9)}),  # no melanoma
            CardSubgroup("age: not known", 10, 3, sides),
            CardSubgroup("sex: male", 70, 10, sides),
        ]
    )
    assert [(group.at_least, group.below, group.images, group.positives) for group in found] == [
        (30, 50, 90, 9),
        (70, None, 50, 20),
    ]
    assert (found[0].sensitivity, found[0].sensitivity_interval) == (0.6, pytest.approx((0.5, 0.7)))


def test_age_groups_of_the_shipped_classifier_match_its_card() -> None:
    bundle = find_classifier("melanoma-small")
    settings = bundle.config.classifier
    assert settings is not None
    assert len(settings.ages) == 4
    for group, name in zip(settings.ages, ("0 to 29", "30 to 49", "50 to 69", "70 and over"), strict=True):
        line = next(line for line in bundle.card.splitlines() if line.startswith(f"| age: {name} |"))
        shares = ((group.sensitivity, group.sensitivity_interval), (group.specificity, group.specificity_interval))
        shown = [f"{share:.3f} ({low:.3f} to {high:.3f})" for share, (low, high) in shares]
        assert [f"{group.images}", f"{group.positives}", *shown] == [
            cell for index, cell in enumerate(line.strip("| ").split(" | ")) if index in (1, 2, 4, 5)
        ]


def test_full_card_contains_metrics_with_intervals() -> None:
    figures = {"held out": {name: Estimate(0.9 + i / 1000, 0.8, 0.95, 40) for i, name in enumerate(OVERLAP_METRICS)}}
    card = full_card(config().model_copy(update={"threshold": 0.62}), figures, "## Data\n\nFrom somewhere.\n")
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "| held out | 40 | 0.900 (0.800 to 0.950) | 0.901 (0.800 to 0.950) |" in card
    assert "threshold 0.62" in card
    assert "From somewhere." in card
    assert "not for diagnosis" in card


@pytest.mark.parametrize("model", OUTSIDE_FIGURES)
def test_the_shipped_cards_have_the_texts_of_the_scripts(model: str) -> None:
    card = find_bundle(model).card
    texts = [NOTES[model]] if model in NOTES else [DATA_NOTES, LIMITS, *HELD_OUT]
    for text in [*outside_section(model), *texts]:
        assert text in card
    assert card.index("## Performance") < card.index("## Outside the development data") < card.index("## Limitations")


def test_the_cards_do_not_call_a_part_of_a_training_set_validation_images() -> None:
    card = find_bundle("lesion-small").card
    assert "ISIC 2017, `val`" not in card
    assert "Dice 0.843 (0.813 to 0.871)" in card
