"""The figures of an adapted classifier: those of subgroups rest on the same decisions as those of all photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.classification.adaptation import SHIPPED, LabeledCases, Selection
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.adaptation_card import MeasuredPhotographs, MeasuredSelection, measure_adaptation
from napari_melanoma.metrics.calibration import softmax
from napari_melanoma.metrics.cautious_threshold import choose_cautious_threshold
from napari_melanoma.models.installed_bundles import find_bundle

COUNT, FOLDS, POSITIVE = 120, 5, "melanoma"


@pytest.mark.parametrize("known", [None, 0.2])
def test_the_decisions_of_subgroups_are_those_of_all(known: float | None) -> None:
    """The sensitivities of both sexes, weighted by their melanomas, are that of all photographs; specificities, too."""
    info, random = find_bundle("melanoma-small"), np.random.default_rng(1)
    classes = len(info.config.classes)
    positive = info.config.classes.index(POSITIVE)
    labels = np.where(random.random(COUNT) < 0.4, positive, (positive + 1) % classes)
    logits = random.normal(size=(COUNT, classes))
    logits[np.arange(COUNT), labels] += 1
    groups = [f"p{index // 2}" for index in range(COUNT)]
    samples = [
        Sample(f"i{index}", Path(f"i{index}.png"), None, f"set/{group}", "", "set")
        for index, group in enumerate(groups)
    ]
    rows = {
        one.key: {"image_id": one.image_id, "sex": "male" if index % 4 < 2 else "female", "age": str(20 + index // 2)}
        for index, one in enumerate(samples)
    }
    nested = logits + random.normal(0, 0.3, logits.shape)
    folds, head = np.arange(COUNT) // 2 % FOLDS, None
    selection = Selection(SHIPPED, head, (), logits, nested, logits, folds)  # type: ignore[arg-type]
    scores = softmax(logits, 1.0)[:, positive]
    threshold = choose_cautious_threshold(scores, labels == positive, groups, 0.9, known)
    cases = LabeledCases(np.zeros((COUNT, 1), np.float32), logits.astype(np.float32), labels, groups)
    measured = MeasuredSelection(cases, selection, positive, "class_conditional", threshold)
    found = measure_adaptation(info, MeasuredPhotographs(samples, rows), measured, POSITIVE)

    for index, whole in enumerate((found.shipped, found.adapted)):
        for by in ("sex", "age"):
            parts: list[Any] = [pair[index] for pair in found.subgroups if pair[index].name.startswith(by)]
            assert sum(one.count for one in parts) == COUNT
            for name, sizes in (
                ("sensitivity", [one.positives for one in parts]),
                ("specificity", [one.count - one.positives for one in parts]),
            ):
                means = [one.figures[name].mean for one in parts]
                assert np.average(means, weights=sizes) == pytest.approx(whole[name].mean)
    assert np.average([one.sensitivity for one in found.ages], weights=[one.positives for one in found.ages]) == (
        pytest.approx(found.adapted["sensitivity"].mean)
    )
    point, specificity = found.make_operating_point(), found.adapted["specificity"]
    assert (point.specificity, *point.specificity_interval) == (specificity.mean, specificity.low, specificity.high)
    assert point.target_shown == (threshold.basis == "shown")
