"""The types of rows of a paper's tables: how they predict and are evaluated, and their metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier, PredictionCalibration
from napari_melanoma.classification.comparators import fit_table_logistic
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularConfig
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Key, Sample
from napari_melanoma.data.groups import hash_to_unit_interval
from napari_melanoma.data.table_schema import READER_COLUMN
from napari_melanoma.data.tabular_encoding import fit_encoding, read_table_values, to_matrix
from napari_melanoma.evaluation.masks import measure_sample
from napari_melanoma.extensions.papers.analyses import fit_trees
from napari_melanoma.extensions.papers.image_features import make_feature_predictor
from napari_melanoma.extensions.papers.papers import Image, ImageMeasurement, Row, RowKind, RowSubject
from napari_melanoma.extensions.papers.split import UNTOUCHED
from napari_melanoma.figures.evaluation import comparison_image
from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.metrics.calibration import softmax
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_means, bootstrap_statistic, weighted_mean
from napari_melanoma.training.run_data import read_data

NO_REFINEMENT = RefinementConfig(largest_only=False, fill_holes=False, smoothing=0.0, min_area_fraction=0.0)
# P2 keeps the largest contour and fills it.
LARGEST_FILLED = RefinementConfig(largest_only=True, fill_holes=True, smoothing=0.0, min_area_fraction=0.0)
Rows = Mapping[Key, Mapping[str, str]]
"""Rows of the tables of data sets, by data set and image id."""
# Colors of the frame of a picture, as in P4.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE = (255, 255, 0), (255, 0, 0), (0, 255, 0), (0, 0, 0)
FRAME = 0.04  # width of the frame, as a share of the side
TABLE_MODELS = ("tabular", "logistic")  # predictors that use the table alone
LABELS = ("0", "1")  # other cells have no label: images of folds may lack one if a row has a target of its own


def make_predictor(subject: RowSubject, run: RunContext) -> Callable[[Sample], ImageMeasurement]:
    """Load the predictor of a row, and return the function that measures an image."""
    rows = subject.rows
    if subject.row.file.predictor == "network":
        return _network_measure(subject)
    probability = _simple_predictor(subject, run)

    def measure(sample: Sample) -> ImageMeasurement:
        columns = _prediction_columns(rows[sample.key].get(subject.target) == "1", probability(sample))
        return ImageMeasurement(  # the photograph is read only for pictures
            columns,
            lambda: read_photograph(sample.image).rgb,
            lambda: _draw_frame(read_photograph(sample.image).rgb, columns),
        )

    return measure


def _simple_predictor(subject: RowSubject, run: RunContext) -> Callable[[Sample], float]:
    """Return the function that predicts the probability of the positive class, for a row without a network."""
    predictor = subject.row.file.predictor
    if predictor == "features":
        return make_feature_predictor(subject, run)
    if predictor in TABLE_MODELS:
        predict = predict_with_logistic if predictor == "logistic" else predict_with_trees
        probabilities = predict(subject.training, subject.rows, _table_choices(subject.row), subject.target)
        return lambda sample: probabilities[sample.key]
    if predictor == "random":
        return lambda sample: hash_to_unit_interval("random", sample.full_name)
    labels_by_domain = defaultdict[str, list[bool]](list)
    for (domain, _), row in subject.training.items() if predictor == "prevalence" else ():
        if row.get(subject.target) in LABELS:
            labels_by_domain[domain].append(row[subject.target] == "1")
    shares = {domain: float(np.mean(labels)) for domain, labels in labels_by_domain.items()}
    return lambda sample: shares.get(sample.domain, 0.0)


def _table_choices(row: Row) -> TabularConfig:
    return TabularConfig.parse(row.values["full"]["classification"]["tabular"], row.name)


def check_table_columns(training: Rows, row: Row, target: str) -> None:
    """Raise an error if the training data lack an input of a row that predicts from the table alone."""
    fit_encoding(_with_label(training, target)[0], _table_choices(row), target)


def _prediction_columns(
    truth: bool,
    probability: float,
    as_trained: float | None = None,
    above: bool | None = None,
    possible: tuple[bool, bool] | None = None,
) -> dict[str, object]:
    """Return the columns of ``per_image.csv`` of a prediction.

    ``probability``: of the positive class, calibrated. ``as_trained``: before calibration; None if it is the same.
    ``above``: whether it reaches the operating point. ``possible``: whether the prediction set contains the negative
    and the positive class.
    """
    return {
        "label": int(truth),
        "as_trained": f"{probability if as_trained is None else as_trained:.6f}",
        "probability": f"{probability:.6f}",
        "above": "" if above is None else int(above),
        "covered": "" if possible is None else int(possible[truth]),
        "several": "" if possible is None else int(all(possible)),
    }


def _calibrated_columns(truth: bool, calibration: PredictionCalibration, logits: NDArray[np.float32]) -> dict[str, Any]:
    """Return the columns of ``per_image.csv`` for the logits of an image, float32 (1, class)."""
    probabilities, point, positive = (
        calibration.probabilities(logits),
        calibration.operating_point(),
        calibration.positive_index,
    )
    probability, as_trained = float(probabilities[0, positive]), float(softmax(logits)[0, positive])
    above = None if point is None else probability >= point.threshold
    if calibration.reference is None:
        return _prediction_columns(truth, probability, as_trained, above)
    prediction_set = calibration.prediction_sets(probabilities)[0]
    possible = bool(np.delete(prediction_set, positive).any()), bool(prediction_set[positive])
    return _prediction_columns(truth, probability, as_trained, above, possible)


def _network_measure(subject: RowSubject) -> Callable[[Sample], ImageMeasurement]:
    """Load the network of a fold, and return the function that measures an image."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.models.zoo import find_encoder
    from napari_melanoma.training.tasks.task import reuse_encoder_cache

    if subject.bundle is None:
        raise RunError(f"the row '{subject.row.name}' has no model.")
    classifier = Classifier.load(subject.bundle, backend="torch")  # which reuses features cached in training
    if (encoder := find_encoder(classifier.torch_network)) is not None:
        reuse_encoder_cache(encoder)
    find_mask = _make_mask_finder(subject, classifier)

    def measure(sample: Sample) -> ImageMeasurement:
        row, rgb = subject.rows[sample.key], read_photograph(sample.image).rgb
        mask, has_lesion = find_mask(sample, rgb)
        encoded = classifier.run_encoder([classifier.crop_image(rgb, mask)])
        truth = row.get(subject.target) == "1"
        columns = _calibrated_columns(truth, classifier.calibration, classifier.run_head(encoded, [row]))
        columns["no_lesion"] = int(not has_lesion)
        if (depths := classifier.depths(encoded)) is not None:
            columns |= {"depth_mm": row.get(DEPTH_COLUMN, ""), "depth_predicted_mm": f"{depths.mm[0]:.4f}"}
            columns |= {name: text for name, text in row.items() if READER_COLUMN.fullmatch(name)}
        return ImageMeasurement(columns, lambda: rgb, lambda: _draw_frame(classifier.crop_image(rgb, mask), columns))

    return measure


def _make_mask_finder(
    subject: RowSubject, classifier: Classifier
) -> Callable[[Sample, NDArray[np.uint8]], tuple[NDArray[np.bool_] | None, bool]]:
    """Return the function that finds the mask of an image, and whether it contains a lesion.

    Without a lesion, the mask is the whole image; it is None for networks of whole photographs.
    """
    if classifier.config.view.region == "photograph":
        return lambda sample, rgb: (None, True)
    if subject.masks == "reference":
        return lambda sample, rgb: mask_or_everything(read_mask(sample.mask) if sample.mask else None, rgb)
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.installed_bundles import find_bundle

    segmenter = Segmenter.load(find_bundle(subject.segmenter))

    def find_predicted(sample: Sample, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
        return mask_or_everything(segment_and_refine(segmenter, rgb)[1], rgb)

    return find_predicted


def segment_and_refine(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Segment a photograph; return the mask, and its largest region, filled, as in P2."""
    mask = segmenter.probability(rgb) >= segmenter.info.config.threshold
    return mask, refine_mask(mask, LARGEST_FILLED)


def mask_or_everything(mask: NDArray[np.bool_] | None, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
    """Return a mask and True, or the whole photograph and False if no lesion was found.

    So all rows are evaluated on the same images.
    """
    if mask is None or not mask.any():
        return np.ones(rgb.shape[:2], bool), False
    return mask, True


def _draw_frame(view: NDArray[np.uint8], columns: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Draw a frame around an image in the color of the result, which is that before calibration at one half."""
    is_positive = float(columns["as_trained"]) >= HALF
    if columns["label"]:
        color = TRUE_POSITIVE if is_positive else FALSE_NEGATIVE
    else:
        color = FALSE_POSITIVE if is_positive else TRUE_NEGATIVE
    width = max(1, round(FRAME * max(view.shape[:2])))
    framed = view.copy()
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        framed[edge] = color
    return framed


# Pooling of folds.

FOLDS = "folds"  # part of the images that are in a fold
# Columns of which the networks of all folds are averaged, with their format, and columns by majority vote.
MEANS = {"as_trained": "{:.6f}", "probability": "{:.6f}", "depth_predicted_mm": "{:.4f}"}
VOTES = ("above", "covered", "several", "no_lesion")


def pool_folds(folds: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, str]]:
    """Pool the predictions of all folds: a row for each image, with its ``part``.

    An image of a fold has one prediction, by the network that was not trained on it. An untouched image has the mean
    probability of all networks, and a majority vote of their decisions.
    """
    rows = [{**row, "part": FOLDS} for fold in folds for row in fold if row["fold"]]
    untouched: dict[Key, list[Mapping[str, str]]] = defaultdict(list)
    for fold in folds:
        for row in fold:
            if not row["fold"]:
                untouched[row["domain"], row["image_id"]].append(row)
    return rows + [{**each[0], **_combine_predictions(each), "part": UNTOUCHED} for each in untouched.values()]


def _combine_predictions(predictions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Combine the predictions of several networks for one image; "" for a value that a network lacks."""
    combined = {}
    for name in (*MEANS, *VOTES):
        if name not in predictions[0]:
            continue
        cells = [one[name] for one in predictions]
        mean = float(np.mean([float(cell) for cell in cells])) if all(cells) else None
        number_format = MEANS.get(name)
        combined[name] = "" if mean is None else number_format.format(mean) if number_format else str(int(mean >= 0.5))
    return combined


# Metrics.

CALIBRATED = "calibrated_"  # begins the names of the metrics of calibrated probabilities
# The abbreviations of the papers for the metrics of classifiers.
SCORES = {"AC": "accuracy", "PR": "precision", "SE": "sensitivity", "SP": "specificity"} | {
    name: name for name in ("F1", "AUC", "AP", "ECE")
}
# Sensitivity and specificity at the operating point, coverage of the prediction sets, and share of sets with both
# classes; only networks that were calibrated have them.
AT_POINT, SETS = {"SE90": "sensitivity", "SP90": "specificity"}, {"COV": "covered", "CT": "several"}
STORED = (*AT_POINT, *SETS)
# Columns of ``per_image.csv``: how the names of the metrics of their scores begin, and these metrics.
SCORE_COLUMNS = {"as_trained": ("", SCORES), "probability": (CALIBRATED, SCORES), "above": ("", AT_POINT)}
METRICS = (*SCORES, *(CALIBRATED + name for name in SCORES), *STORED)
HALF = 0.5  # decision threshold of the papers
CHANCE = 0.5  # the AUC of uninformative predictions


def predict_with_trees(
    training: Rows, evaluated: Rows, choices: TabularConfig, target: str = "melanoma"
) -> dict[Key, float]:
    """Fit boosted trees to the training rows, and predict every evaluated row: probability by image."""
    rows, labels = _with_label(training, target)
    trees, encoding = fit_trees(rows, choices, labels, target)
    matrix, _ = to_matrix(read_table_values(list(evaluated.values()), encoding))
    return dict(zip(evaluated, map(float, trees.predict_proba(matrix)[:, 1]), strict=True))


def predict_with_logistic(training: Rows, evaluated: Rows, choices: TabularConfig, target: str) -> dict[Key, float]:
    """Fit a logistic regression to the training rows, and predict every evaluated row: probability by image."""
    rows, labels = _with_label(training, target)
    probabilities = fit_table_logistic(rows, labels.astype(bool), choices, target).predict(list(evaluated.values()))
    return dict(zip(evaluated, probabilities.tolist(), strict=True))


def _with_label(training: Rows, target: str) -> tuple[list[Mapping[str, str]], NDArray[np.intp]]:
    """Return the training rows with a label, and their classes, int (row,)."""
    rows = [row for row in training.values() if row.get(target) in LABELS]
    return rows, np.array([int(row[target]) for row in rows], np.intp)


VALIDATION_DICE, CONSTANT_DICE = "validation_dice", "constant_dice"  # in evaluation.json
SMALL_SIDE = 256  # side in pixels to which P2 resizes images and masks before it compares them
SMALL_METRICS = {f"{name}{SMALL_SIDE}": name for name in ("AC", "DI")}
MASK_COLUMNS = (*OVERLAP_METRICS, *SMALL_METRICS)


# Segmentation: masks compared with reference masks by the metrics of ISIC 2018, averaged over images.


def _make_mask_measure(subject: RowSubject, run: RunContext) -> Callable[[Sample], ImageMeasurement]:
    """Load the model, and return the function that measures an image."""
    from napari_melanoma.lesion.segmentation import Segmenter

    assert subject.bundle is not None
    bundle, refinement = subject.bundle, LARGEST_FILLED if subject.row.file.refine else NO_REFINEMENT
    model = Segmenter.load(bundle)

    def measure(sample: Sample) -> ImageMeasurement:
        compared, metrics = measure_sample(sample, model, bundle.config.threshold, refinement)
        small = overlap_metrics(_resize_mask(compared.mask), _resize_mask(compared.reference))
        columns = {name: metrics[name] for name in OVERLAP_METRICS}
        columns |= {name: small[full] for name, full in SMALL_METRICS.items()} | {"found": int(compared.mask.any())}
        return ImageMeasurement(
            columns, lambda: compared.rgb, partial(comparison_image, compared.mask, compared.reference)
        )

    return measure


def _resize_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Resize a mask, bool (row, column), to a square of ``SMALL_SIDE``, by the nearest pixel."""
    from PIL import Image

    return np.asarray(Image.fromarray(mask).resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.NEAREST))


def _mask_estimates(images: Sequence[Image], others: Sequence[Image] = ()) -> dict[str, Estimate]:
    """Average over images, with intervals over patients or lesions; with ``others``, their differences."""
    tables = [np.array([[float(image[name]) for name in MASK_COLUMNS] for image in each]) for each in (images, others)]
    table, low = (tables[0] - tables[1], -1) if others else (tables[0], 0)
    found = bootstrap_means(table, [image["group"] for image in images], bounds=(low, 1))
    return dict(zip(MASK_COLUMNS, found, strict=True))


def _mask_remark(images: Sequence[Image], trained: bool) -> str:
    """Note a model that finds no lesion in half of the images or more, and a training that failed."""
    empty_masks = sum(image.get("found") == "0" for image in images)
    if 2 * empty_masks < len(images):
        return ""
    failure = ": training failed" if empty_masks == len(images) and trained else ""
    return f"found no lesion in {empty_masks} of {len(images)}{failure}"


def measure_validation(run: RunFolder) -> dict[str, float]:
    """Return the best mean Dice index on the validation images, and that of masks of the whole image.

    Empty if one of them is unknown.
    """
    epochs = read_table(run.path / "metrics.csv")
    dice = [float(row["validation_dice"]) for row in epochs if row.get("validation_dice")]
    if not dice:
        return {}
    masks = [row.sample.mask for row in read_data(run.data) if row.part == "validation" and row.sample.mask]
    shares = [read_mask(mask).mean() for mask in masks]
    if not shares:
        return {}
    return {VALIDATION_DICE: max(dice), CONSTANT_DICE: float(np.mean([2 * share / (1 + share) for share in shares]))}


def pool_validation(folds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the means of the values of ``measure_validation`` over folds; empty if a fold has none."""
    names = (VALIDATION_DICE, CONSTANT_DICE)
    if not all(name in fold for fold in folds for name in names):
        return {}
    return {name: float(np.mean([fold[name] for fold in folds])) for name in names}


def _explain_unlearned_masks(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
    """Return a reason if no epoch had a higher Dice index on validation images than masks of the whole image."""
    achieved, constant = evaluation.get(VALIDATION_DICE), evaluation.get(CONSTANT_DICE)
    if achieved is None or constant is None or achieved > constant:
        return ""
    return f"Dice of {100 * achieved:.1f} on the validation images, {100 * constant:.1f} for masks of the whole image"


# Classification: out-of-fold predictions, pooled over the folds of a cross-validation.


def read_scores(images: Sequence[Image], column: str) -> ClassPredictions | None:
    """Read predictions from a column of ``per_image.csv``, decided at one half; None if an image has none."""
    cells = [image.get(column) for image in images]
    if not all(cells):
        return None
    scores = np.array(cells, np.float64)
    labels, groups = ([image[name] for image in images] for name in ("label", "group"))
    truth = np.array([label == "1" for label in labels], np.intp)
    return ClassPredictions(np.stack([1 - scores, scores], 1), truth, np.array(groups), ("other", "true"), "true", HALF)


def _class_estimates(images: Sequence[Image], others: Sequence[Image] = ()) -> dict[str, Estimate]:
    """Estimate the metrics of images; with ``others``, the changes from the same images of another row."""
    estimates = dict[str, Estimate]()
    for column, (prefix, metrics) in SCORE_COLUMNS.items():
        scores, before = read_scores(images, column), read_scores(others, column) if others else None
        if scores is None or (others and before is None):
            continue
        found = class_estimates(scores) if before is None else class_differences(before, scores)
        estimates |= {prefix + name: found[known] for name, known in metrics.items() if known in found}
    for name, column in SETS.items():
        cells = [[image.get(column) for image in each] for each in (images, others)]
        if all(map(all, cells)):
            values = np.array(cells[0], np.float64) - (np.array(cells[1], np.float64) if others else 0)
            groups = [image["group"] for image in images]
            estimates[name] = bootstrap_statistic(
                partial(weighted_mean, values), groups, bounds=(-1 if others else 0, 1)
            )
    return estimates


def _class_remark(images: Sequence[Image], trained: bool) -> str:
    """Note photographs that were used as a whole, since no lesion was found, and constant predictions."""
    without_lesion = sum(image.get("no_lesion") == "1" for image in images)
    remarks = (
        [f"no lesion found in {without_lesion} of {len(images)}: the whole photograph was used"]
        if without_lesion
        else []
    )
    predictions_made = Counter(image["probability"] for image in images)
    if trained and len(predictions_made) == 1:
        remarks.append("the same prediction for every image: training failed")
    return "; ".join(remarks)


def _explain_unlearned_classes(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
    """Return a reason if the AUC of a network in the folds is not above chance on any role that it was trained on."""
    if row.file.predictor != "network":
        return ""
    inside = [image for image in images if image.get("part") != UNTOUCHED]
    roles = [[image for image in inside if image.get("role", role) == role] for role in row.file.train_roles]
    scores = [read_scores(known, "as_trained") for known in roles if known]
    aucs = [class_estimates(each).get("AUC") for each in scores if each is not None]
    at_chance = [auc for auc in aucs if auc is not None and auc.low <= CHANCE]
    if not aucs or len(at_chance) < len(aucs):
        return ""
    where = dict.fromkeys("lies below 50" if auc.high < CHANCE else "contains 50" for auc in at_chance)
    return f"the interval of its AUC {' or '.join(where)}"


SEGMENTATION = RowKind(
    "segmentation",
    MASK_COLUMNS,
    _make_mask_measure,
    _mask_estimates,
    _mask_remark,
    _explain_unlearned_masks,
)
CLASSIFICATION = RowKind(
    "classification",
    METRICS,
    make_predictor,
    _class_estimates,
    _class_remark,
    _explain_unlearned_classes,
    cross_validated=True,
)
# Each image is segmented by the network that was not trained on its fold.
CROSSED_SEGMENTATION = replace(
    SEGMENTATION, name="cross_validated_segmentation", cross_validated=True, needs_masks=True
)
KINDS = {kind.name: kind for kind in (CLASSIFICATION, CROSSED_SEGMENTATION, SEGMENTATION)}
