"""Comparators of a risk model: logistic regressions of Breslow thickness, of Clark level, and of the image alone.

They show how much the complete model adds. They are fitted after a training, and stored with its bundle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from napari_melanoma.classification.classifier import Classifier, EncoderOutput
from napari_melanoma.core.config import Config, read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, MelanomaError, RunError
from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.prediction_config import NumberColumn, TabularConfig, TabularEncoding, WordColumn
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.tabular_encoding import encode_rows, fit_encoding, read_number, read_word
from napari_melanoma.metrics.calibration import class_log_odds
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.training.data_preparation import read_part_table
from napari_melanoma.training.recipe import COMPARED_COLUMNS, METASTASIS, TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data

COMPARATORS_FILE = "comparators.json"
NOT_STORED = "Breslow thickness and Clark level: the run was started by an earlier version, which did not store them."
TableRow = Mapping[str, object]
BRESLOW_COLUMNS = TabularConfig(numbers=(NumberColumn(name="depth_mm"),), words=())
CLARK_COLUMNS = TabularConfig(numbers=(), words=(WordColumn(name="clark", encoding="one_hot"),))
COMPARATOR_METHODS = {
    "breslow": ("Breslow thickness alone", BRESLOW_COLUMNS),
    "clark": ("Clark level alone", CLARK_COLUMNS),
}


class TableLogistic(Config):
    """A logistic regression of table columns, as stored in a file."""

    title: str = Field("", description="name for the interface")
    encoding: TabularEncoding
    weights: tuple[float, ...]
    intercept: float
    cases: int = Field(0, ge=0, description="number of cases in the fit")

    def predict(self, rows: Sequence[TableRow]) -> NDArray[np.float64]:
        """Return the probability of the positive class, float64 (row,)."""
        inputs = encode_rows(rows, self.encoding).continuous
        return LogisticRegression(np.array(self.weights), self.intercept).predict(inputs)

    def missing_columns(self, row: TableRow) -> tuple[str, ...]:
        """Return the columns of the regression that have no value in a row."""
        known_columns = encode_rows([row], self.encoding).known[0]
        return tuple(
            name for name, is_present in zip(self.encoding.fields, known_columns, strict=True) if not is_present
        )


class ImageLogistic(Config):
    """A logistic regression of the log odds of the network for the image alone, without metadata and depth."""

    title: str = ""
    slope: float
    intercept: float
    cases: int = Field(0, ge=0)

    def predict(self, log_odds: float) -> float:
        """Return the probability of the positive class, in [0, 1]."""
        from scipy.special import expit

        return float(expit(self.slope * log_odds + self.intercept))


class Comparators(Config):
    """All comparators of a network."""

    format_version: int = 1
    table: dict[str, TableLogistic] = Field(default_factory=dict, description="by name of the method")
    image: ImageLogistic | None = None
    phantom: bool = Field(False, description="whether all cases are synthetic: not valid for real cases")
    left_out: tuple[str, ...] = Field((), description="unused rows and values of the data sets, and why")


@dataclass(frozen=True)
class ComparatorCases:
    """Cases to fit: rows of the table, their labels, bool (row,), and the column of the labels."""

    rows: Sequence[TableRow]
    labels: NDArray[np.bool_]
    target: str = "metastasis"


def fit_table_logistic(
    rows: Sequence[TableRow], labels: NDArray[np.bool_], choices: TabularConfig, target: str, title: str = ""
) -> TableLogistic:
    """Fit a logistic regression to rows of a table.

    ``labels``: bool (row,), true for the positive class. ``choices``: the columns and their encoding.
    """
    words = tuple(column.model_copy(update={"encoding": "one_hot"}) for column in choices.words)
    texts = [{name: str(value) for name, value in row.items()} for row in rows]
    encoding = fit_encoding(texts, choices.model_copy(update={"words": words}), target)
    regression = LogisticRegression.fit(encode_rows(rows, encoding).continuous, labels)
    weights = tuple(map(float, regression.weights))
    return TableLogistic(
        title=title, encoding=encoding, weights=weights, intercept=regression.intercept, cases=len(rows)
    )


def fit_comparators(cases: ComparatorCases, image: tuple[NDArray[np.float64], NDArray[np.bool_]] | None) -> Comparators:
    """Fit the comparators of a network, each on the cases with a value in its column.

    Methods whose column is empty in all rows are left out.

    ``image``: log odds of the network for the image alone, float64 (case,), and the labels, bool (case,). These cases
    must be outside the training set, on which the network is overconfident.
    """
    table = {}
    for name, (title, choices) in COMPARATOR_METHODS.items():
        known = [place for place, row in enumerate(cases.rows) if _has_values(row, choices)]
        if known:
            rows = [cases.rows[place] for place in known]
            table[name] = fit_table_logistic(rows, cases.labels[known], choices, cases.target, title)
    return Comparators(table=table, image=None if image is None else _fit_image(*image))


def write_comparators(bundle: Path, comparators: Comparators) -> None:
    write_json(bundle / COMPARATORS_FILE, comparators.model_dump(mode="json"))


def read_comparators(bundle: Path) -> Comparators:
    """Read the comparators of a bundle; empty if it has none."""
    path = bundle / COMPARATORS_FILE
    if not path.is_file():
        return Comparators()
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot read {path}: {parse_error_reason(error)}. Copy or download the bundle again."
        ) from error
    return Comparators.parse(values, str(path))


def _fit_image(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> ImageLogistic:
    """Calibrate the log odds of the image alone."""
    regression = LogisticRegression.fit(np.asarray(log_odds)[:, None], labels)
    return ImageLogistic(
        title="Image alone", slope=float(regression.weights[0]), intercept=regression.intercept, cases=len(labels)
    )


def _has_values(row: TableRow, choices: TabularConfig) -> bool:
    """Whether a row has a value in each column, as the prediction of a comparator requires."""
    numbers = (read_number(row.get(column.name), column.name) for column in choices.numbers)
    return not any(map(math.isnan, numbers)) and all(
        read_word(row.get(column.name), column.name) for column in choices.words
    )


BATCH_SIZE = 16  # images in one forward pass


def fit_run_comparators(folder: RunFolder, bundle: BundleInfo, run: RunContext) -> Comparators:
    """Fit comparators on the cases of a run as stored when it began, and write them to its bundle.

    Depth and Clark level are fitted on the lesions of the training and validation cases; the image only on the
    validation cases, as the network is overconfident on its training cases.
    """
    recipe, run_rows, parts = read_toml(folder.config, TrainRecipe), read_data(folder.data), ("train", "validation")
    assert recipe.classification is not None
    classes, class_indices, stored = read_part_table(folder.path, run_rows, parts)
    cases = [row for row in run_rows if row.part in parts]
    rows, left_out = _harmonize(cases, stored)
    labels = class_indices == classes.index(recipe.classification.positive)
    is_validation = np.array([row.part == "validation" for row in cases])
    log_odds = _image_log_odds([row for row, chosen in zip(cases, is_validation, strict=True) if chosen], bundle, run)
    # Images of a lesion have its depth: each is one case, as a patient with many images would outweigh the others.
    distinct = {
        (case.sample.group, *(row.get(name) for name in COMPARED_COLUMNS), label): place
        for place, (case, row, label) in enumerate(zip(cases, rows, labels.tolist(), strict=True))
    }
    places = [*distinct.values()]
    comparators = fit_comparators(
        ComparatorCases([rows[place] for place in places], labels[places], recipe.classification.target),
        (log_odds, labels[is_validation]) if len(log_odds) else None,
    )
    synthetic = all(row.sample.synthetic for row in cases)
    comparators = comparators.model_copy(update={"phantom": synthetic, "left_out": tuple(left_out)})
    write_comparators(bundle.path, comparators)
    return comparators


def fit_comparators_if_metastasis(recipe: TrainRecipe, folder: RunFolder, bundle: BundleInfo, run: RunContext) -> str:
    """Fit comparators for a run that predicts metastasis.

    Returns what failed or was left out; empty if nothing was, or the run predicts something else. The model stays
    usable without comparators.
    """
    options = recipe.classification
    if options is None or recipe.bags is not None or options.target != METASTASIS or options.positive != METASTASIS:
        return ""
    try:
        left_out = fit_run_comparators(folder, bundle, run).left_out
    except (MelanomaError, OSError) as error:  # such as an image that was removed meanwhile
        return f"The model has no comparators: {error}"
    return f"Left out of the comparators: {' '.join(left_out)}" if left_out else ""


def _harmonize(cases: Sequence[DataRow], stored: Sequence[TableRow]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the columns of the comparators in the standard values, and notes on values that were left out.

    ``stored``: the row of each case, as the training read it.
    """
    if not all(name in row for row in stored for name in COMPARED_COLUMNS):
        return [{} for _ in cases], [NOT_STORED]
    notes, rows = [], dict[int, dict[str, str]]()
    for domain in dict.fromkeys(row.sample.domain for row in cases):
        places = [place for place, row in enumerate(cases) if row.sample.domain == domain]
        table = harmonize_rows(
            {"image_id": cases[place].sample.image_id, **{name: str(stored[place][name]) for name in COMPARED_COLUMNS}}
            for place in places
        )
        rows |= dict(zip(places, table.rows, strict=True))
        notes += [
            f"{domain}, {column}: {finding}."
            for column, finding in table.report.describe_findings()
            if column in COMPARED_COLUMNS and column not in table.report.empty
        ]
    return [rows[place] for place in range(len(cases))], notes


def _image_log_odds(rows: Sequence[DataRow], bundle: BundleInfo, run: RunContext) -> NDArray[np.float64]:
    """Return the log odds of a network for images without metadata, float64 (image,)."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.io.photographs import read_photograph

    model, log_odds = Classifier.load(bundle), [np.zeros(0)]
    for first in run.track(range(0, len(rows), BATCH_SIZE), "Predicting from the image only"):
        rows_in_batch = rows[first : first + BATCH_SIZE]
        if changed := [row.sample.image for row in rows_in_batch if hash_file(row.sample.image) != row.image_sha]:
            raise RunError(f"images of the run have changed since it began: {format_names(changed)}. Restore them.")
        views = [model.crop_image(read_photograph(row.sample.image).rgb, None) for row in rows_in_batch]
        log_odds.append(image_log_odds(model, model.run_encoder(views)))
    return np.concatenate(log_odds)


MAX_ITERATIONS, TOLERANCE = 50, 1e-9
RIDGE = 1.0  # for inputs with a standard deviation of about 1; the default of scikit-learn


def image_log_odds(model: Classifier, features: Sequence[EncoderOutput]) -> NDArray[np.float64]:
    """Return the log odds of the positive class from the image only, before calibration, float64 (patch,)."""
    return class_log_odds(model.run_head(features, [{}] * len(features)), model.calibration.positive_index)


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """A logistic regression with a ridge penalty.

    ``weights``: float64 (input,). ``intercept``: log odds of the positive class if all inputs are 0.
    """

    weights: NDArray[np.float64]
    intercept: float

    @classmethod
    def fit(cls, inputs: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE) -> Self:
        """Fit by penalized maximum likelihood.

        If all cases have the same label, the prediction is the share of positives, after adding half a case to each
        class, for any input.

        ``inputs``: float (case, input). ``labels``: bool (case,).
        """
        matrix, truth = np.atleast_2d(np.asarray(inputs, np.float64)), np.asarray(labels, np.float64)
        if not len(truth):
            raise ValueError("a logistic regression needs at least one case, found none")
        share = (truth.sum() + 0.5) / (len(truth) + 1)
        start = np.zeros(matrix.shape[1] + 1)
        start[-1] = np.log(share / (1 - share))
        if truth.min() == truth.max():
            return cls(start[:-1], float(start[-1]))
        coefficients = _fit_newton(np.column_stack([matrix, np.ones(len(matrix))]), truth, start, ridge)
        return cls(coefficients[:-1], float(coefficients[-1]))

    def log_odds(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the log odds of the positive class, float64 (case,)."""
        return np.asarray(inputs, np.float64) @ self.weights + self.intercept

    def predict(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of the positive class, float64 (case,), in [0, 1]."""
        from scipy.special import expit

        return expit(self.log_odds(inputs))


def _fit_newton(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], start: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Minimize the loss by Newton's method; a step is halved while it would increase the loss.

    ``matrix``: float64 (case, input + 1), the last column is 1. ``truth``: 0 or 1, float64 (case,). Returns weights and
    intercept, float64 (input + 1,).
    """
    from scipy.special import expit

    penalty = np.append(np.full(matrix.shape[1] - 1, ridge), 0.0)
    coefficients, loss = start, _loss(matrix, truth, start, penalty)
    for _ in range(MAX_ITERATIONS):
        predicted = expit(matrix @ coefficients)
        gradient = matrix.T @ (predicted - truth) + penalty * coefficients
        hessian = (matrix * (predicted * (1 - predicted))[:, None]).T @ matrix + np.diag(penalty + TOLERANCE)
        step = np.linalg.solve(hessian, gradient)
        while (new := _loss(matrix, truth, coefficients - step, penalty)) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        if loss - new < TOLERANCE * max(1.0, abs(loss)):
            return coefficients
        coefficients, loss = coefficients - step, new
    return coefficients


def _loss(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    """Return the penalized negative log likelihood."""
    log_odds = matrix @ weights
    return float((np.logaddexp(0, log_odds) - truth * log_odds).sum() + 0.5 * (penalty * weights**2).sum())
