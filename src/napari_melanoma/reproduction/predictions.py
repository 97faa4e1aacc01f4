"""Predictions of classification rows: networks, tables, chance and ensembles."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularConfig
from napari_melanoma.data.dataset import Key
from napari_melanoma.data.table_schema import READER_COLUMN
from napari_melanoma.data.tabular_encoding import fit_encoding, read_table_values, to_matrix
from napari_melanoma.evaluation.tabular_baseline import fit_trees
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.metrics.calibration import softmax
from napari_melanoma.metrics.roc_curves import ResampledScores
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics
from napari_melanoma.reproduction.image_features import make_feature_predictor
from napari_melanoma.reproduction.papers import ImageMeasurement, Row, RowSubject
from napari_melanoma.reproduction.split import TABLE, TRAIN, UNTOUCHED, read_fold_tables
from napari_melanoma.risk.comparators import fit_table_logistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier, PredictionCalibration
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.lesion.segmentation import Segmenter

Rows = Mapping[Key, Mapping[str, str]]
"""Data set and image to the row of the table."""
# Colors of the frame of a picture, as in P4: true positive, false positive, false negative, true negative.
FOUND, TOO_MUCH, MISSED, RIGHT = (255, 255, 0), (255, 0, 0), (0, 255, 0), (0, 0, 0)
FRAME = 0.04  # width of the frame, as a share of the side
TABLE_MODELS = ("tabular", "logistic")
LABELS = ("0", "1")  # an image of a fold has a label for the paper's target, and not always for that of a row


def make_predictor(subject: RowSubject, run: RunContext) -> Callable[[Sample], ImageMeasurement]:
    """Load the predictor of a row, and return the function that measures an image."""
    rows = read_fold_tables(subject.evaluated)
    if subject.row.file.predictor == "network":
        return _network_measure(subject, rows)
    return partial(_measure_without_pixels, subject, rows, _simple_predictor(subject, rows, run))


def _simple_predictor(subject: RowSubject, rows: Rows, run: RunContext) -> Callable[[Sample], RowPrediction]:
    """Return the function that predicts an image without a network."""
    if subject.row.file.predictor == "features":
        probability = make_feature_predictor(subject, run)
        return lambda sample: RowPrediction(probability(sample))
    if subject.row.file.predictor in TABLE_MODELS:
        probabilities = _table_predictions(subject, rows)
        return lambda sample: RowPrediction(probabilities[sample.key])
    return _baselines(subject)[subject.row.file.predictor]


def _table_predictions(subject: RowSubject, rows: Rows) -> dict[Key, float]:
    """Predict from the table alone."""
    choices = _table_choices(subject.row)
    predict = predict_with_logistic if subject.row.file.predictor == "logistic" else predict_with_trees
    return predict(subject.trained_on, rows, choices, subject.target)


def _table_choices(row: Row) -> TabularConfig:
    return TabularConfig.parse(row.values["full"]["classification"]["tabular"], row.name)


def check_table_columns(folders: tuple[Path, ...], row: Row, target: str) -> None:
    """Raise if the training rows lack a column that a row of the table alone uses."""
    fit_encoding(_training_rows(folders, target)[0], _table_choices(row), target)


@dataclass(frozen=True, eq=False)
class RowPrediction:
    """Prediction for an image: the probability and, if the model was calibrated, threshold and prediction set.

    ``as_trained`` is the network's own probability, before calibration; without a calibration both are equal.
    """

    probability: float
    above: bool | None = None
    possible: tuple[bool, bool] | None = None
    as_trained: float | None = None

    @property
    def uncalibrated(self) -> float:
        """The probability as trained."""
        return self.probability if self.as_trained is None else self.as_trained

    def columns(self, row: Mapping[str, str], target: str) -> dict[str, object]:
        """Return its columns of ``per_image.csv``, with the true class."""
        truth, possible = row.get(target) == "1", self.possible
        return {
            "label": int(truth),
            "as_trained": f"{self.uncalibrated:.6f}",
            "probability": f"{self.probability:.6f}",
            "above": "" if self.above is None else int(self.above),
            "covered": "" if possible is None else int(possible[truth]),
            "several": "" if possible is None else int(all(possible)),
        }


def _baselines(subject: RowSubject) -> dict[str, Callable[[Sample], RowPrediction]]:
    """Return the predictors without a model."""
    trained_on = read_fold_tables(subject.trained_on)
    of_set: dict[str, list[bool]] = {}
    for (domain, _), row in trained_on.items():
        if row["split"] == TRAIN and row.get(subject.target) in LABELS:
            of_set.setdefault(domain, []).append(row.get(subject.target) == "1")
    shares = {domain: float(np.mean(labels)) for domain, labels in of_set.items()}
    return {
        "random": lambda sample: RowPrediction(_random_probability(sample.full_name)),
        "constant_negative": lambda sample: RowPrediction(0.0),
        "prevalence": lambda sample: RowPrediction(shares.get(sample.domain, 0.0)),
    }


def _random_probability(name: str) -> float:
    """Return a pseudo-random number in [0, 1) for a name."""
    return int.from_bytes(hashlib.sha256(f"random {name}".encode()).digest()[:6]) / 2**48


def _measure_without_pixels(
    subject: RowSubject, rows: Rows, predict: Callable[[Sample], RowPrediction], sample: Sample
) -> ImageMeasurement:
    """Measure a prediction without the photograph, which is read only for pictures."""
    row = rows[sample.key]
    prediction, truth = predict(sample), row.get(subject.target) == "1"
    return ImageMeasurement(
        prediction.columns(row, subject.target),
        lambda: read_photograph(sample.image).rgb,
        lambda: _draw_frame(read_photograph(sample.image).rgb, truth, prediction),
    )


def _predict_row(calibration: PredictionCalibration, logits: NDArray[np.float32]) -> RowPrediction:
    """Convert the logits of one image, float32 (1, class), to a prediction, with the calibration of the network."""
    probabilities, point = calibration.probabilities(logits), calibration.operating_point()
    probability = float(probabilities[0, calibration.positive_index])
    as_trained = float(softmax(logits)[0, calibration.positive_index])
    above = None if point is None else probability >= point.cut
    if calibration.reference is None:
        return RowPrediction(probability, above, as_trained=as_trained)
    found = calibration.prediction_sets(probabilities)[0]
    others = bool(np.delete(found, calibration.positive_index).any())
    return RowPrediction(probability, above, (others, bool(found[calibration.positive_index])), as_trained)


def _network_measure(subject: RowSubject, rows: Rows) -> Callable[[Sample], ImageMeasurement]:
    """Load the network and the calibration of a fold."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.models.zoo import find_encoder
    from napari_melanoma.training.tasks.task import reuse_encoder_cache

    if subject.bundle is None:
        raise RunError(f"the row '{subject.row.name}' has no model.")
    classifier = Classifier.load(subject.bundle)
    if (encoder := find_encoder(classifier.network)) is not None:
        reuse_encoder_cache(encoder)
    mask_of = _make_mask_finder(subject, classifier)

    def measure(sample: Sample) -> ImageMeasurement:
        row, rgb = rows[sample.key], read_photograph(sample.image).rgb
        mask, found = mask_of(sample, rgb)
        encoded = classifier.run_encoder([classifier.crop_image(rgb, mask)])
        prediction = _predict_row(classifier.calibration, classifier.run_head(encoded, [row]))
        columns = {**prediction.columns(row, subject.target), "no_lesion": int(not found)}
        if (depths := classifier.depths(encoded)) is not None:
            columns |= {"depth_mm": row.get(DEPTH_COLUMN, ""), "depth_said": f"{depths.mm[0]:.4f}"}
            columns |= {name: text for name, text in row.items() if READER_COLUMN.fullmatch(name)}
        truth = row.get(subject.target) == "1"
        return ImageMeasurement(
            columns, lambda: rgb, lambda: _draw_frame(classifier.crop_image(rgb, mask), truth, prediction)
        )

    return measure


def _make_mask_finder(
    subject: RowSubject, classifier: Classifier
) -> Callable[[Sample, NDArray[np.uint8]], tuple[NDArray[np.bool_] | None, bool]]:
    """Return the function that finds the mask of an image; without a lesion the whole image is used."""
    if classifier.config.view.region == "photograph":
        return lambda sample, rgb: (None, True)
    if subject.masks == "reference":
        return lambda sample, rgb: mask_or_everything(read_mask(sample.mask) if sample.mask else None, rgb)
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.registry import find_bundle

    segmenter = Segmenter.load(find_bundle(subject.segmenter))

    def predicted(sample: Sample, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
        return mask_or_everything(segment_and_refine(segmenter, rgb)[1], rgb)

    return predicted


def segment_and_refine(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Segment a photograph; return the mask, and its largest part filled, as in P2."""
    from napari_melanoma.imaging.postprocessing import refine_mask
    from napari_melanoma.reproduction.kinds.segmentation import LARGEST_FILLED

    mask = segmenter.probability(rgb) >= segmenter.info.config.threshold
    return mask, refine_mask(mask, LARGEST_FILLED)


def mask_or_everything(mask: NDArray[np.bool_] | None, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
    """Use the whole photograph if no lesion was found, so that all rows are evaluated on the same images."""
    if mask is None or not mask.any():
        return np.ones(rgb.shape[:2], bool), False
    return mask, True


def _draw_frame(view: NDArray[np.uint8], truth: bool, prediction: RowPrediction) -> NDArray[np.uint8]:
    """Draw a frame in the color of the result, as trained and at one half, around an image."""
    positive = prediction.uncalibrated >= HALF
    color = (FOUND if positive else MISSED) if truth else (TOO_MUCH if positive else RIGHT)
    width = max(1, round(FRAME * max(view.shape[:2])))
    framed = view.copy()
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        framed[edge] = color
    return framed


FOLDS = "folds"  # out-of-fold predictions
MEANS = {"as_trained": "{:.6f}", "probability": "{:.6f}", "depth_said": "{:.4f}"}
VOTES = ("above", "covered", "several", "no_lesion")


def pool_folds(folds: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, str]]:
    """Pool the predictions of the networks of all folds: a row for each image, with its ``part``.

    An image of a fold has one prediction, by the network that was not trained on it. An image outside of all folds has
    the mean probability of all networks, and a majority vote of their decisions.
    """
    rows = [{**row, "part": FOLDS} for fold in folds for row in fold if row["fold"]]
    apart: dict[Key, list[Mapping[str, str]]] = defaultdict(list)
    for fold in folds:
        for row in fold:
            if not row["fold"]:
                apart[row["domain"], row["image_id"]].append(row)
    return rows + [{**each[0], **_combine_predictions(each), "part": UNTOUCHED} for each in apart.values()]


def _combine_predictions(predictions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Combine the predictions for one image; values that are missing for a network are empty."""
    found = {}
    for name in (*MEANS, *VOTES):
        if name not in predictions[0]:
            continue
        cells = [one[name] for one in predictions]
        mean = float(np.mean([float(cell) for cell in cells])) if all(cells) else None
        form = MEANS.get(name)
        found[name] = "" if mean is None else form.format(mean) if form else str(int(mean >= 0.5))
    return found


CALIBRATED = "calibrated_"  # begins the names of the metrics of calibrated probabilities
AT_HALF = ("AC", "PR", "SE", "SP", "F1")
SCORES = (*AT_HALF, "AUC", "AP", "ECE")  # of the probabilities as trained, and of the calibrated ones
STORED = ("SE90", "SP90", "COV", "CT")  # of decisions and prediction sets, which exist only after calibration
METRICS = (*SCORES, *(CALIBRATED + name for name in SCORES), *STORED)
# How many independent cases support a metric: those of both classes, of one class, or the smaller of the two
OF_ALL, OF_POSITIVES, OF_NEGATIVES = ("AC", "ECE", "COV", "CT"), ("SE", "SE90"), ("SP", "SP90")
BIASED = "ECE"  # above 0 by chance, and more so in bootstrap samples
HALF = 0.5  # threshold of both papers
CHANCE = 0.5  # the AUC of uninformative predictions
Figures = Callable[["NDArray[np.float64]"], "dict[str, NDArray[np.float64]]"]


@dataclass(frozen=True, eq=False)
class PooledPredictions:
    """Out-of-fold predictions for two classes.

    ``truth``: bool (image,): whether it is the positive class. ``as_trained``, ``probability``: float64 (image,), 0 to
    1, as the network predicts it, and calibrated; NaN where it is unknown.
    ``above``: float64 (image,): 1 at or above the operating point of the image's fold, else 0; NaN where there is none.
    ``covered``, ``several``: float64 (image,): 1 where the conformal set holds the truth, and where it holds both
    classes; NaN: no set.
    """

    truth: NDArray[np.bool_]
    as_trained: NDArray[np.float64]
    probability: NDArray[np.float64]
    above: NDArray[np.float64]
    covered: NDArray[np.float64]
    several: NDArray[np.float64]

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Compute every metric for each bootstrap sample.

        ``weights``: float64 (sample, image), number of times of each image. Returns metric to float64 (sample,); NaN
        where it is undefined.
        """
        calibrated = self._scores(self.probability, weights)
        same = np.array_equal(self.as_trained, self.probability)
        return {
            **(calibrated if same else self._scores(self.as_trained, weights)),
            **{CALIBRATED + name: values for name, values in calibrated.items()},
            **self._stored_metrics(weights),
        }

    def _scores(self, probability: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Metrics of probabilities: those at one half, and those of all thresholds."""
        if np.isnan(probability).any():
            return {name: np.full(len(weights), np.nan) for name in SCORES}
        resampled = ResampledScores(probability, self.truth, weights)
        decisions = resampled.threshold_metrics(HALF)
        return {
            "AC": decisions["accuracy"],
            "PR": np.nan_to_num(decisions["precision"]),  # no positive prediction
            "SE": decisions["sensitivity"],
            "SP": decisions["specificity"],
            "F1": decisions["F1"],
            "AUC": resampled.auc(),
            "AP": resampled.average_precision(),
            "ECE": resampled.calibration_error(),
        }

    def _stored_metrics(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Sensitivity and specificity at the operating point, and coverage of the prediction sets."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "SE90": _share(weights * self.truth, self.above),
                "SP90": 1 - _share(weights * ~self.truth, self.above),
                "COV": _share(weights, self.covered),
                "CT": _share(weights, self.several),
            }


def estimate_metrics(pooled: PooledPredictions, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate every defined metric with a 95 % bootstrap interval, which is NaN if there is one group."""
    return _bootstrap_estimates(pooled, pooled.figures, groups, (0, 1))


def estimate_auc(pooled: PooledPredictions, groups: Sequence[str]) -> Estimate | None:
    """Estimate the AUC as trained, with the same interval as all metrics together; None if it is undefined."""
    if np.isnan(pooled.as_trained).any():
        return None

    def area(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"AUC": ResampledScores(pooled.as_trained, pooled.truth, weights).auc()}

    return _bootstrap_estimates(pooled, area, groups, (0, 1)).get("AUC")


def estimate_changes(first: PooledPredictions, second: PooledPredictions, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate the differences, second minus first, paired on the same bootstrap samples."""

    def differences(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = first.figures(weights), second.figures(weights)
        return {name: after[name] - before[name] for name in METRICS}

    return _bootstrap_estimates(first, differences, groups, (-1, 1))


def _share(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean; NaN if a value is unknown."""
    return weights @ values / weights.sum(axis=1)


def _bootstrap_estimates(
    pooled: PooledPredictions, figures: Figures, groups: Sequence[str], bounds: tuple[float, float]
) -> dict[str, Estimate]:
    """Combine the metrics of all images with those of the bootstrap samples."""
    names, drawn = np.asarray(groups), draw_statistics(figures, groups)
    positives, others = (len(np.unique(names[chosen])) for chosen in (pooled.truth, ~pooled.truth))
    cases = dict.fromkeys(OF_ALL, len(np.unique(names)))
    cases |= dict.fromkeys(OF_POSITIVES, positives) | dict.fromkeys(OF_NEGATIVES, others)
    found = {}
    for metric in (known for known in METRICS if known in drawn):
        name, (mean, draws) = metric.removeprefix(CALIBRATED), drawn[metric]
        if np.isfinite(mean):
            count = cases.get(name, min(positives, others))
            ends = bootstrap_interval(mean, draws, count, bounds=bounds, biased=name == BIASED)
            found[metric] = Estimate(mean, *ends, len(groups))
    return found


def predict_with_trees(
    training_folders: tuple[Path, ...], evaluated: Rows, choices: TabularConfig, target: str = "melanoma"
) -> dict[Key, float]:
    """Fit boosted trees to the rows of the other folds, and predict every row."""
    rows, labels = _training_rows(training_folders, target)
    trees, encoding = fit_trees(rows, choices, labels, target)
    matrix, _ = to_matrix(read_table_values(list(evaluated.values()), encoding))
    return dict(zip(evaluated, map(float, trees.predict_proba(matrix)[:, 1]), strict=True))


def predict_with_logistic(
    training_folders: tuple[Path, ...], evaluated: Rows, choices: TabularConfig, target: str
) -> dict[Key, float]:
    """Fit a logistic regression to the rows of the other folds, and predict every row."""
    rows, labels = _training_rows(training_folders, target)
    found = fit_table_logistic(rows, labels.astype(bool), choices, target).predict(list(evaluated.values()))
    return dict(zip(evaluated, found.tolist(), strict=True))


def _training_rows(folders: tuple[Path, ...], target: str) -> tuple[list[dict[str, str]], NDArray[np.intp]]:
    """Return the training rows with a label, and their classes."""
    rows = [row for folder in folders for row in read_table(folder / TABLE)]
    rows = [row for row in rows if row["split"] == TRAIN and row.get(target) in LABELS]
    return rows, np.array([int(row[target]) for row in rows], np.intp)
