"""All metrics of evaluations: key, title, unit, limits, which values are better, and definition.

Files use the keys (``metrics.json``, ``per_image.csv``, ``models.csv``, ``comparison.json``). Pages, docks, the command
line and the reference page read titles, directions and definitions here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric of evaluations.

    ``title``: its name for users. ``better``: which values are better; "" if neither. ``unit``: "" for a ratio.
    ``limits``: the lowest and the highest possible value.
    """

    key: str
    title: str
    definition: str
    better: Literal["higher", "lower", ""] = "higher"
    unit: str = ""
    limits: tuple[float, float] = (0.0, 1.0)

    @property
    def label(self) -> str:
        """Title and unit, such as ``HD95 (mm)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def directed_label(self) -> str:
        """Title and unit, with a note if lower values are better."""
        return f"{self.label} (lower is better)" if self.better == "lower" else self.label


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.key: metric for metric in metrics}


_UNBOUNDED = (0.0, math.inf)
_SIGNED = (-math.inf, math.inf)
# Masks of one lesion: the metrics of ISIC 2018, and those of the border.
OVERLAP_METRICS = _table(
    Metric("TJA", "thresholded Jaccard", "Jaccard index, set to 0 below 0.65 (ISIC 2018)"),
    Metric("JA", "Jaccard (IoU)", "Jaccard index: intersection over union"),
    Metric("DI", "Dice", "Dice index"),
    Metric("AC", "accuracy", "accuracy of the pixels"),
    Metric("SE", "sensitivity", "sensitivity of the pixels"),
    Metric("SP", "specificity", "specificity of the pixels"),
)
BOUNDARY_METRICS = _table(
    Metric(
        "HD95_px",
        "HD95",
        "95 % Hausdorff distance: 95 % of each border is at most this far from the other",
        "lower",
        "px",
        _UNBOUNDED,
    ),
    Metric(
        "HD95_relative", "HD95 / diagonal", "95 % Hausdorff distance relative to the diagonal of the image", "lower"
    ),
    Metric("HD95_mm", "HD95", "95 % Hausdorff distance in mm, if the scale is known", "lower", "mm", _UNBOUNDED),
    Metric("BF1", "boundary F1", "F1 of both borders within 0.75 % of the diagonal"),
)
BAND_METRICS = _table(
    Metric(
        "band_share",
        "band share",
        "with flips: share of the lesion and its surroundings where predictions for flipped images disagree",
        "lower",
    ),
    Metric(
        "errors_in_band",
        "errors in band",
        "with flips: share of the wrong pixels that lie where predictions for flipped images disagree",
    ),
)
MASK_METRICS = OVERLAP_METRICS | BOUNDARY_METRICS | BAND_METRICS
# Classes of photographs and slides.
CLASS_METRICS = _table(
    Metric(
        "AUC",
        "AUC",
        "area under the ROC curve: how often the positive image of a pair has the higher probability",
    ),
    Metric(
        "AUC_within",
        "AUC within data sets",
        "AUC of pairs within the same data set: recognizing the data set does not help",
    ),
    Metric("AP", "average precision", "area under the precision-recall curve"),
    Metric(
        "pAUC",
        "pAUC",
        "area under the ROC curve above 80 % sensitivity, at most 0.2, chance level 0.02 (ISIC 2024)",
        limits=(0.0, 0.2),
    ),
    Metric("sensitivity", "sensitivity", "share of the positives at or above the decision threshold"),
    Metric("specificity", "specificity", "share of the others below the decision threshold"),
    Metric("precision", "precision", "share of positives among the images at or above the decision threshold"),
    Metric("F1", "F1", "harmonic mean of sensitivity and precision"),
    Metric("accuracy", "accuracy", "share of correct decisions at the threshold"),
    Metric("balanced_accuracy", "balanced accuracy", "mean of sensitivity and specificity"),
    Metric(
        "MCC",
        "Matthews correlation",
        "Matthews correlation coefficient of truth and decisions at the threshold, 0 by chance",
        limits=(-1.0, 1.0),
    ),
    Metric(
        "kappa",
        "Cohen's kappa",
        "agreement of truth and decisions at the threshold beyond chance (Cohen's kappa)",
        limits=(-1.0, 1.0),
    ),
    Metric(
        "ECE",
        "ECE",
        "expected calibration error of the positive class, 15 bins with equal numbers of images, equal values together",
        "lower",
    ),
    Metric("Brier", "Brier score", "mean squared difference between probability and truth", "lower"),
    Metric("macro_AUC", "macro AUC", "mean over the classes of the AUC of each class against the rest"),
    Metric("class_accuracy", "class accuracy", "share whose most probable class is the true one"),
    Metric(
        "class_balanced_accuracy",
        "class balanced accuracy",
        "mean over the classes of the share that is predicted correctly",
    ),
    Metric(
        "class_MCC",
        "class Matthews correlation",
        "Matthews correlation coefficient of the true and the most probable class (Gorodkin's R_K)",
        limits=(-1.0, 1.0),
    ),
    Metric(
        "class_kappa",
        "class kappa",
        "agreement of the true and the most probable class beyond chance (Cohen's kappa)",
        limits=(-1.0, 1.0),
    ),
)
# Prediction sets and the detection of unusual images.
SET_METRICS = _table(
    Metric("coverage", "coverage", "share whose prediction set contains the true class"),
    Metric(
        "inconclusive", "inconclusive", "share whose prediction set contains several classes, or none", better="lower"
    ),
    Metric(
        "out_of_distribution",
        "out of distribution",
        "share of images out of distribution, unlike the training images",
        better="",
    ),
)
DEPTH_METRICS = _table(
    Metric("depth_mae_mm", "error of the depth", "mean absolute error of the depth", "lower", "mm", _UNBOUNDED),
    Metric(
        "depth_r",
        "correlation of depths",
        "correlation of predicted and measured depth (Pearson)",
        limits=(-1.0, 1.0),
    ),
    Metric("depth_bias_mm", "bias of the depth", "mean of predicted minus measured depth", "", "mm", _SIGNED),
    Metric("depth_low_mm", "lower limit of the depth", "lower limit of agreement (Bland-Altman)", "", "mm", _SIGNED),
    Metric("depth_high_mm", "upper limit of the depth", "upper limit of agreement (Bland-Altman)", "", "mm", _SIGNED),
    Metric("depth_coverage", "coverage of depths", "share of intervals that contain the measured depth"),
)
# Segmentation by simulated clicks; ``DI n`` is the Dice index after n clicks.
CLICK_METRICS = _table(
    Metric(
        "NoC 85",
        "clicks to Dice 0.85",
        "clicks until a Dice index of 0.85, all clicks if it is never reached",
        "lower",
        limits=_UNBOUNDED,
    ),
    Metric("never 85", "never Dice 0.85", "share of images that never reach a Dice index of 0.85", "lower"),
    Metric(
        "NoC 90",
        "clicks to Dice 0.90",
        "clicks until a Dice index of 0.90, all clicks if it is never reached",
        "lower",
        limits=_UNBOUNDED,
    ),
    Metric("never 90", "never Dice 0.90", "share of images that never reach a Dice index of 0.90", "lower"),
    Metric(
        "DI best of hypotheses",
        "Dice, best mask",
        "Dice index of the best mask that is proposed without a click",
    ),
)
# Classifiers in reproductions, by the abbreviations of the papers; at a probability of one half unless stated.
PAPER_METRICS = _table(
    Metric("AC", "accuracy", "share of correct predictions"),
    Metric("PR", "precision", "share of positives among the images that are predicted positive"),
    Metric("SE", "sensitivity", "share of the positives that are predicted positive"),
    Metric("SP", "specificity", "share of the others that are predicted negative"),
    Metric("F1", "F1", "harmonic mean of sensitivity and precision"),
    CLASS_METRICS["AUC"],
    CLASS_METRICS["AP"],
    CLASS_METRICS["ECE"],
    Metric(
        "SE90",
        "sensitivity at the threshold",
        "sensitivity at the threshold chosen for a sensitivity of 90 % on other images",
    ),
    Metric(
        "SP90",
        "specificity at the threshold",
        "specificity at the threshold chosen for a sensitivity of 90 % on other images",
    ),
    Metric("COV", "coverage", "share of conformal prediction sets at 90 % coverage that contain the true class"),
    Metric(
        "CT", "inconclusive", "share of conformal prediction sets at 90 % coverage that contain both classes", "lower"
    ),
)
METRIC_TABLE = {**MASK_METRICS, **CLASS_METRICS, **SET_METRICS, **DEPTH_METRICS, **CLICK_METRICS}


def metric_label(name: str) -> str:
    """Return the name of a metric for users, such as ``Jaccard (IoU), dermis`` for ``JA dermis``."""
    if name in METRIC_TABLE:
        return METRIC_TABLE[name].label
    metric, _, label_class = name.partition(" ")
    if metric in METRIC_TABLE:
        return f"{METRIC_TABLE[metric].label}, {label_class}"
    return name.replace("_", " ")


def define_metrics(metrics: Iterable[Metric]) -> str:
    """Join the definitions of metrics into one note."""
    return "; ".join(f"{metric.label}: {metric.definition}" for metric in metrics) + "."
