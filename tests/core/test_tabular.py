"""Number, cardinality and masking of a network's inputs from a table."""

from __future__ import annotations

import json
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


def test_a_shape_survives_the_options_of_a_bundle() -> None:
    shape = TabularShape(continuous=2, cardinalities=(3, 9), widths=(2, 4), silent=(True, False))
    assert TabularShape.parse(json.loads(json.dumps(shape.model_dump(mode="json"))), "config.json") == shape


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


def test_a_network_is_built_for_an_encoding_and_takes_its_inputs() -> None:
    import torch

    from napari_melanoma.data.tabular_encoding import encode_rows
    from napari_melanoma.models.zoo import build_network, list_architectures

    encoding = TabularEncoding(numbers=(AGE, SIZE), words=(SEX, SOURCE, SITE))
    small = list_architectures()["image_tabular"].spec.small
    network = build_network("image_tabular", {**small, "tabular": encoding.shape.model_dump(mode="json")}).eval()
    rows = [{"age": "50", "sex": "male", "site": "torso", "size": "7", "source": "b"}, {}]
    inputs = encode_rows(rows, encoding)
    with torch.inference_mode():
        images = torch.zeros(2, 3, 64, 64)
        logits = network(images, torch.from_numpy(inputs.continuous), torch.from_numpy(inputs.categories))
    assert logits.shape == (2, 2)
    assert float((logits[0] - logits[1]).abs().max()) > 0  # the same picture, another form
