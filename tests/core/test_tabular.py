"""Number, cardinality and masking of a network's inputs from a table."""

from __future__ import annotations

from typing import Any

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding, TabularShape

AGE = FittedNumbers(name="age", missing="unknown")  # the number, and whether it is known
SIZE = FittedNumbers(name="size", encoding="one_hot", edges=(2.0, 6.0))  # three bins
SEX = FittedWords(name="sex", words=("female", "male"))
SITE = FittedWords(name="site", words=("head/neck", "torso", "palms/soles"), missing="zero")
SOURCE = FittedWords(name="source", encoding="one_hot", words=("a", "b"))  # two words, and unknown


def test_an_encoding_states_the_shape_of_its_output() -> None:
    shape = TabularEncoding(numbers=(AGE, SIZE), words=(SEX, SOURCE, SITE)).shape
    assert shape == TabularShape(continuous=2 + 3 + 3, cardinalities=(3, 4), widths=(3, 3), silent=(False, True))
    assert shape.width == 8 + 6


def test_no_columns_are_no_inputs() -> None:
    assert TabularEncoding().shape == TabularShape()
    assert TabularShape().width == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"cardinalities": [3, 4], "widths": [2]}, "2 cardinalities, expected as many widths", id="widths"),
        pytest.param({"silent": [True]}, "0 cardinalities, expected as many widths, and as many silent", id="silent"),
        pytest.param({"cardinalities": [0], "widths": [2]}, "cardinalities", id="an embedding of nothing"),
        pytest.param({"continuous": -1}, "continuous", id="fewer than none"),
    ],
)
def test_inconsistent_options_are_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TabularShape.parse(values, "options")
