"""Errors of option values name the option, the allowed values and the given value."""

from __future__ import annotations

import pytest

from napari_melanoma.cli.session import explain_by_options
from napari_melanoma.core.errors import ConfigError, ConfigFault, InputError

MESSAGES = [
    ("lesion a.png --out o --coverage 2", "--coverage is 2: expected a number above 0 and below 1."),
    (
        "lesion a.png --out o --side 3 --margin 9",
        "--margin is 9: expected a number of at least 0 and at most 2; --side is 3:",
    ),
    ("lesion a.png --out o --pixel-size -1", "--pixel-size is -1: expected a number above 0."),
    ("phantom lesion --out o --skin-type 9", "--skin-type is 9: expected a number of at least 1 and at most 6."),
    ("phantom lesion --out o --size 3 90", "--size is 3: expected a number of at least 16"),
    ("slide a.svs --out o --border round", "--border is round: input should be 'pad', 'inside' or 'shift'."),
    ("data split none --val 3", "--val is 3: expected a number of at least 0 and below 1."),
]


@pytest.mark.parametrize(("line", "expected"), MESSAGES)
def test_an_error_of_a_value_names_its_option(run, line: str, expected: str) -> None:
    result = run(*line.split())
    assert result.exit_code == 2
    assert f"Error: {expected}" in " ".join(result.output.split())
    assert "is not a valid" not in result.output


def test_an_error_of_several_options_has_no_dictionary(run) -> None:
    result = run(*["data", "split", "none", "--val", "0.5", "--test", "0.6"])
    assert result.exit_code == 2
    assert "command line: val and test together are 1.1: expected less than 1" in result.output
    assert "{" not in result.output


def test_other_errors_keep_their_message() -> None:
    assert explain_by_options(InputError("there is no such file")) == "there is no such file"
    fault = ConfigFault("classify.coverage", 2.0, "expected below 1")
    assert explain_by_options(ConfigError("recipe.toml is not valid", (fault,))) == "recipe.toml is not valid"
