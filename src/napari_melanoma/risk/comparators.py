"""What is shown beside a network's risk: logistic regressions of depth and Clark level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config, read_toml
from napari_melanoma.core.errors import BundleError, DataSetError, MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.prediction_config import NumberColumn, TabularConfig, TabularEncoding, WordColumn
from napari_melanoma.data.dataset import COHORT_FILE, DatasetEntry, iter_entries
from napari_melanoma.data.features.encoding import encode_rows, fit_encoding
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.io.results import read_object
from napari_melanoma.risk.prediction import image_log_odds
from napari_melanoma.training.data_selection import row_labels, sample_key
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import BundleInfo

COMPARATORS_FILE = "comparators.json"
TableRow = Mapping[str, object]
BRESLOW_COLUMNS = TabularConfig(numbers=(NumberColumn(name="depth_mm"),), words=())
CLARK_COLUMNS = TabularConfig(numbers=(), words=(WordColumn(name="clark", encoding="one_hot"),))
COMPARATOR_METHODS = {
    "breslow": ("Breslow thickness alone", BRESLOW_COLUMNS),
    "clark": ("Clark level alone", CLARK_COLUMNS),
}


class TableLogistic(Config):
    """A logistic regression of columns of a table, as it is kept in a file."""

    title: str = Field("", description="in words")
    encoding: TabularEncoding
    weights: tuple[float, ...]
    intercept: float
    cases: int = Field(0, ge=0, description="that it was fitted on")

    def predict(self, rows: Sequence[TableRow]) -> NDArray[np.float64]:
        """Return the probability of the positive class.

        Returns float64 (row,).
        """
        inputs = encode_rows(rows, self.encoding).continuous
        return LogisticRegression(np.array(self.weights), self.intercept).predict(inputs)

    def missing_columns(self, row: TableRow) -> tuple[str, ...]:
        """Name the columns that it asks for and a row does not know.

        None where it can answer from what is known.
        """
        known = encode_rows([row], self.encoding).known[0]
        return tuple(name for name, there in zip(self.encoding.fields, known, strict=True) if not there)


class ImageLogistic(Config):
    """What the image alone says: the network's log odds without patient and depth, put to scale by other cases."""

    title: str = ""
    slope: float
    intercept: float
    cases: int = Field(0, ge=0)

    def predict(self, log_odds: float) -> float:
        """Return the probability of the positive class.

        In [0, 1].
        """
        return float(expit(self.slope * log_odds + self.intercept))


class Comparators(Config):
    """All that stands beside a network's answer."""

    format_version: int = 1
    table: dict[str, TableLogistic] = Field(default_factory=dict, description="by the name of the method")
    image: ImageLogistic | None = None
    phantom: bool = Field(False, description="whether all cases were drawn: its answers say nothing of a real one")
    left_out: tuple[str, ...] = Field((), description="rows and cells of the data sets that were not used, and why")


@dataclass(frozen=True)
class ComparatorCases:
    """Rows with their answers, bool (row,), and the column that holds these."""

    rows: Sequence[TableRow]
    labels: NDArray[np.bool_]
    target: str = "metastasis"


def fit_table_logistic(
    rows: Sequence[TableRow], labels: NDArray[np.bool_], choices: TabularConfig, target: str, title: str = ""
) -> TableLogistic:
    """Fit a logistic regression to rows of a table.

    ``labels``: bool (row,): whether it is the positive class.
    """
    words = tuple(column.model_copy(update={"encoding": "one_hot"}) for column in choices.words)
    encoding = fit_encoding([*map(_row_to_text, rows)], choices.model_copy(update={"words": words}), target)
    found = LogisticRegression.fit(encode_rows(rows, encoding).continuous, labels)
    weights = tuple(map(float, found.weights))
    return TableLogistic(title=title, encoding=encoding, weights=weights, intercept=found.intercept, cases=len(rows))


def fit_comparators(cases: ComparatorCases, image: tuple[NDArray[np.float64], NDArray[np.bool_]] | None) -> Comparators:
    """Fit what stands beside a network's answer.

    ``image``: the network's log odds of the image alone, float64 (case,), and bool (case,) what they were, of cases
    that it has not learnt from: of those that it has, it is too sure. Of a column that no row knows, none.
    """
    table = {}
    for name, (title, choices) in COMPARATOR_METHODS.items():
        try:
            found = fit_table_logistic(cases.rows, cases.labels, choices, cases.target, title)
        except DataSetError:
            continue
        if any(column.known for column in found.encoding.columns):
            table[name] = found
    return Comparators(table=table, image=None if image is None else _fit_image(*image))


def write_comparators(bundle: Path, found: Comparators) -> None:
    """Put them beside the weights of a bundle."""
    write_json(bundle / COMPARATORS_FILE, found.model_dump(mode="json"))


def read_comparators(bundle: Path) -> Comparators:
    """Read what a bundle has to compare with.

    Empty where it has none.
    """
    path = bundle / COMPARATORS_FILE
    if not path.is_file():
        return Comparators()
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot read {path}: {parse_error_reason(error)}. Get the bundle again from where it came."
        ) from error
    return Comparators.parse(values, str(path))


def _fit_image(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> ImageLogistic:
    """Put the log odds of the image alone to scale."""
    found = LogisticRegression.fit(np.asarray(log_odds)[:, None], labels)
    return ImageLogistic(
        title="Image alone", slope=float(found.weights[0]), intercept=found.intercept, cases=len(labels)
    )


def _row_to_text(row: TableRow) -> dict[str, str]:
    """A row whose cells are text, as tables have them."""
    return {name: str(value) for name, value in row.items()}


METASTASIS = "metastasis"
PICTURES_PER_PASS = 16  # pictures that a network is asked about


def fit_run_comparators(folder: RunFolder, bundle: BundleInfo, run: RunContext) -> Comparators:
    """Fit logistic regressions to the cases of a run, and keep them in its bundle.

    Depth and Clark's level are fitted on all cases that the run has learnt from or tuned with; the image alone on those
    that it has tuned with, as of the others the network is too sure.
    """
    recipe, known = read_toml(folder.config, TrainRecipe), read_data(folder.data)
    assert recipe.classification is not None
    target = recipe.classification.target
    rows: dict[tuple[str, str], dict[str, str]] = {}
    left_out: list[str] = []
    for name in recipe.data.datasets:
        found_rows, notes = _read_rows(Path(name).expanduser(), target)
        rows |= found_rows
        left_out += notes
    said = row_labels(rows, target)
    learnt = [row for row in known if row.part in ("learn", "tuning")]
    cases = [row for row in learnt if sample_key(row.sample) in said]
    if len(cases) < len(learnt):
        left_out.append(f"{len(learnt) - len(cases)} of {len(learnt)} cases have no answer in '{target}'.")
    labels = np.array([said[sample_key(row.sample)] == recipe.classification.positive for row in cases])
    tuning = [row.part == "tuning" for row in cases]
    odds = _image_log_odds([row for row, chosen in zip(cases, tuning, strict=True) if chosen], bundle, run)
    found = fit_comparators(
        ComparatorCases([rows[sample_key(row.sample)] for row in cases], labels, target),
        (odds, labels[tuning]) if len(odds) else None,
    )
    laws = [
        Path(name).expanduser() / COHORT_FILE for name in recipe.data.datasets
    ]  # runs of before do not say of each case
    drawn = all(row.sample.synthetic for row in cases) or all("law" in read_object(law) for law in laws)
    found = found.model_copy(update={"phantom": drawn, "left_out": tuple(left_out)})
    write_comparators(bundle.path, found)
    return found


def fit_comparators_if_metastasis(recipe: TrainRecipe, folder: RunFolder, bundle: BundleInfo, run: RunContext) -> str:
    """Do so for a run that tells metastasis; a fault is told, the model is there whatever becomes of this.

    What went wrong or was left out; empty where nothing was, or nothing was asked for.
    """
    asked = recipe.classification
    if asked is None or recipe.bags is not None or asked.target != METASTASIS or asked.positive != METASTASIS:
        return ""
    try:
        left_out = fit_run_comparators(folder, bundle, run).left_out
    except MelanomaError as error:
        return f"nothing stands beside its answers to compare with: {error}"
    return f"Left out of the models to compare with: {' '.join(left_out)}" if left_out else ""


def _read_rows(folder: Path, target: str) -> tuple[dict[tuple[str, str], dict[str, str]], list[str]]:
    """Rows of a data set in our columns and words, and what of it cannot be used."""
    read = list(iter_entries(folder))
    entries = [entry for entry in read if isinstance(entry, DatasetEntry)]
    faults = [str(entry) for entry in read if not isinstance(entry, DatasetEntry)]
    notes = [f"{len(faults)} faulty rows of {folder.name}, the first: {faults[0]}"] if faults else []
    found = harmonize_rows(entry.row for entry in entries)
    used = {
        target,
        *(column.name for _, choices in COMPARATOR_METHODS.values() for column in (*choices.numbers, *choices.words)),
    }
    used -= {*found.report.empty}
    notes += [
        f"{folder.name}, {column}: {said}." for column, said in found.report.describe_findings() if column in used
    ]
    return {(folder.name, entry.image_id): row for entry, row in zip(entries, found.rows, strict=True)}, notes


def _image_log_odds(rows: Sequence[DataRow], bundle: BundleInfo, run: RunContext) -> NDArray[np.float64]:
    """Ask a network about pictures without saying anything else, float64 (picture,)."""
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.io.photographs import read_photograph

    model, found = Classifier.load(bundle), [np.zeros(0)]
    for first in run.track(range(0, len(rows), PICTURES_PER_PASS), "Asking what the image says alone"):
        views = [
            model.view(read_photograph(row.sample.image).rgb, None) for row in rows[first : first + PICTURES_PER_PASS]
        ]
        found.append(image_log_odds(model, model.run_encoder(views)))
    return np.concatenate(found)


ROUNDS, TOLERANCE = 50, 1e-9
RIDGE = 1.0  # of inputs with a standard deviation of about 1; as scikit-learn has it by default


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """A weight for each input, float64 (input,), and what is added: the log odds of the positive class."""

    weights: NDArray[np.float64]
    intercept: float

    @classmethod
    def fit(cls, inputs: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE) -> Self:
        """Fit it by penalized maximum likelihood.

        ``labels``: bool (case,). With no case of one of the answers, the share of the positives (drawn in by half a
        case) whatever the input.
        """
        matrix, truth = np.atleast_2d(np.asarray(inputs, np.float64)), np.asarray(labels, np.float64)
        if not len(truth):
            raise ValueError("a logistic regression needs at least one case; found none.")
        share = (truth.sum() + 0.5) / (len(truth) + 1)
        start = np.zeros(matrix.shape[1] + 1)
        start[-1] = np.log(share / (1 - share))
        if truth.min() == truth.max():
            return cls(start[:-1], float(start[-1]))
        found = _fit_newton(np.column_stack([matrix, np.ones(len(matrix))]), truth, start, ridge)
        return cls(found[:-1], float(found[-1]))

    def log_odds(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the log odds of the positive class.

        Returns float64 (case,).
        """
        return np.asarray(inputs, np.float64) @ self.weights + self.intercept

    def predict(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of the positive class.

        Returns float64 (case,), in [0, 1].
        """
        return expit(self.log_odds(inputs))


def expit(log_odds: ArrayLike) -> NDArray[np.float64]:
    """Turn log odds into probabilities, without overflow.

    Returns float64, of that shape.
    """
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds, np.float64)))


def _fit_newton(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], start: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Weights and intercept, float64 (input + 1,); a step is halved as long as it would raise the loss."""
    penalty = np.append(np.full(matrix.shape[1] - 1, ridge), 0.0)
    found, loss = start, _loss(matrix, truth, start, penalty)
    for _ in range(ROUNDS):
        said = expit(matrix @ found)
        slope = matrix.T @ (said - truth) + penalty * found
        curve = (matrix * (said * (1 - said))[:, None]).T @ matrix + np.diag(penalty + TOLERANCE)
        step = np.linalg.solve(curve, slope)
        while (new := _loss(matrix, truth, found - step, penalty)) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        if loss - new < TOLERANCE * max(1.0, abs(loss)):
            return found
        found, loss = found - step, new
    return found


def _loss(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    """Penalized negative log likelihood."""
    odds = matrix @ weights
    return float((np.logaddexp(0, odds) - truth * odds).sum() + 0.5 * (penalty * weights**2).sum())
