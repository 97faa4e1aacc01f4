"""The table of metrics: labels, and the metrics that are computed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from napari_melanoma.metrics.metric_table import METRIC_TABLE, OVERLAP_METRICS, PAPER_METRICS, metric_label
from napari_melanoma.metrics.overlap import overlap_metrics


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("JA", "Jaccard (IoU)"),
        ("HD95_mm", "HD95 (mm)"),
        ("DI tumour", "Dice, tumour"),
        ("NoC 85", "clicks to Dice 0.85"),
        ("unknown_key", "unknown key"),
    ],
)
def test_labels(key: str, label: str) -> None:
    assert metric_label(key) == label


def test_lower_values_are_marked_where_they_are_better() -> None:
    marked = {key for key, metric in METRIC_TABLE.items() if metric.directed_label.endswith("(lower is better)")}
    assert {"ECE", "Brier", "HD95_px", "inconclusive", "depth_mae_mm", "NoC 90"} <= marked
    assert marked.isdisjoint({"JA", "AUC", "depth_bias_mm", "out_of_distribution"})


def test_no_definition_refers_to_another_metric() -> None:
    """Pages of comparisons define only the metrics that they show."""
    refers = re.compile(r"^the same\b|\b(?:at|in|of|share of) (?:that|these)\b")
    metrics = (*METRIC_TABLE.values(), *PAPER_METRICS.values())
    assert [metric.key for metric in metrics if refers.search(metric.definition)] == []


def test_metrics_of_masks_are_in_the_table() -> None:
    mask = np.ones((4, 4), bool)
    assert list(overlap_metrics(mask, mask)) == list(OVERLAP_METRICS)
