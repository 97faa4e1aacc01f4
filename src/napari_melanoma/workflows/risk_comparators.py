"""What is said beside a network's risk: logistic regressions of depth, of Clark's level and of the image by itself.

They are fitted on the cases that the network has learnt from, and lie beside its weights in ``comparators.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.analysis.risk_logistic import Logistic, expit
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import BundleError, DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.core.tabular import NumberColumn, TabularChoices, TabularEncoding, WordColumn
from napari_melanoma.data.features.encoding import encode
from napari_melanoma.data.features.fitting import fit

if TYPE_CHECKING:
    from numpy.typing import NDArray


COMPARATORS = "comparators.json"
Row = Mapping[str, object]
BRESLOW = TabularChoices(numbers=(NumberColumn(name="depth_mm"),), words=())
CLARK = TabularChoices(numbers=(), words=(WordColumn(name="clark", encoding="one_hot"),))
METHODS = {"breslow": ("Breslow thickness alone", BRESLOW), "clark": ("Clark level alone", CLARK)}


class TableLogistic(Config):
    """A logistic regression of columns of a table, as it is kept in a file."""

    title: str = Field("", description="in words")
    encoding: TabularEncoding
    weights: tuple[float, ...]
    intercept: float
    cases: int = Field(0, ge=0, description="that it was fitted on")

    def of(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Give the probability of the positive class.

        Returns float64 (row,).
        """
        inputs = encode(rows, self.encoding).continuous
        return Logistic(np.array(self.weights), self.intercept).of(inputs)

    def lacks(self, row: Row) -> tuple[str, ...]:
        """Name the columns that it asks for and a row does not know.

        None where it can answer from what is known.
        """
        known = encode([row], self.encoding).known[0]
        return tuple(name for name, there in zip(self.encoding.fields, known, strict=True) if not there)


class ImageLogistic(Config):
    """What the image alone says: the network's log odds without patient and depth, put to scale by other cases."""

    title: str = ""
    slope: float
    intercept: float
    cases: int = Field(0, ge=0)

    def of(self, log_odds: float) -> float:
        """Give the probability of the positive class.

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
class Cases:
    """Rows with their answers, bool (row,), and the column that holds these."""

    rows: Sequence[Row]
    labels: NDArray[np.bool_]
    target: str = "metastasis"


def fit_rows(
    rows: Sequence[Row], labels: NDArray[np.bool_], choices: TabularChoices, target: str, title: str = ""
) -> TableLogistic:
    """Fit a logistic regression to rows of a table.

    ``labels``: bool (row,): whether it is the positive class.
    """
    words = tuple(column.model_copy(update={"encoding": "one_hot"}) for column in choices.words)
    encoding = fit([*map(_as_text, rows)], choices.model_copy(update={"words": words}), target)
    found = Logistic.fit(encode(rows, encoding).continuous, labels)
    weights = tuple(map(float, found.weights))
    return TableLogistic(title=title, encoding=encoding, weights=weights, intercept=found.intercept, cases=len(rows))


def fit_comparators(cases: Cases, image: tuple[NDArray[np.float64], NDArray[np.bool_]] | None) -> Comparators:
    """Fit what stands beside a network's answer.

    ``image``: the network's log odds of the image alone, float64 (case,), and bool (case,) what they were, of cases
    that it has not learnt from: of those that it has, it is too sure. Of a column that no row knows, none.
    """
    table = {}
    for name, (title, choices) in METHODS.items():
        try:
            found = fit_rows(cases.rows, cases.labels, choices, cases.target, title)
        except DataSetError:
            continue
        if any(column.known for column in found.encoding.columns):
            table[name] = found
    return Comparators(table=table, image=None if image is None else _fit_image(*image))


def write_comparators(bundle: Path, found: Comparators) -> None:
    """Put them beside the weights of a bundle."""
    write_json(bundle / COMPARATORS, found.model_dump(mode="json"))


def read_comparators(bundle: Path) -> Comparators:
    """Read what a bundle has to compare with.

    Empty where it has none.
    """
    path = bundle / COMPARATORS
    if not path.is_file():
        return Comparators()
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot read {path}: {reason_of(error)}. Get the bundle again from where it came."
        ) from error
    return Comparators.parse(values, str(path))


def _fit_image(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> ImageLogistic:
    """Put the log odds of the image alone to scale."""
    found = Logistic.fit(np.asarray(log_odds)[:, None], labels)
    return ImageLogistic(
        title="Image alone", slope=float(found.weights[0]), intercept=found.intercept, cases=len(labels)
    )


def _as_text(row: Row) -> dict[str, str]:
    """A row whose cells are text, as tables have them."""
    return {name: str(value) for name, value in row.items()}
