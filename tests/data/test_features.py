"""Patient data as inputs of networks: encodings fitted on the training rows only."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.core.prediction_config import (
    UNKNOWN,
    FittedWords,
    NumberColumn,
    TabularConfig,
    TabularEncoding,
    WordColumn,
)
from napari_melanoma.data import taxonomy
from napari_melanoma.data.dataset_table import TableFile
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.tabular_encoding import (
    BIN_EDGES,
    choose_encodings,
    drop_each_column,
    encode_rows,
    explain_ineligible,
    fit_encoding,
    join_encodings,
    list_eligible_columns,
    make_network_inputs,
    read_number,
    read_table_values,
    to_matrix,
)
from napari_melanoma.models.bundle import BundleConfig

ROWS = [
    {"age": "40", "sex": "female", "site": "torso"},
    {"age": "50", "sex": "male", "site": "torso"},
    {"age": "", "sex": "female", "site": "head/neck"},
    {"age": "80", "sex": "", "site": ""},
]
STD = np.std([40, 50, 80])


@dataclass(frozen=True)
class Case:
    name: str
    column: NumberColumn | WordColumn
    titles: tuple[str, ...]
    expected: list[list[float]]  # of ROWS and of one row more: 60 years, a sex that no row has


def age(**choice: object) -> NumberColumn:
    return NumberColumn.parse({"name": "age", **choice}, "a case")


def sex(**choice: object) -> WordColumn:
    return WordColumn.parse({"name": "sex", **choice}, "a case")


BIN_TITLES = ("age below 50", "age 50 to below 60", "age 60 or more")
A, B, C, NONE = [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]
CASES = [
    Case("the median", age(), ("age",), [[(x - 170 / 3) / STD] for x in (40, 50, 50, 80, 60)]),
    Case("zero", age(missing="zero"), ("age",), [[(x - 170 / 3) / STD] for x in (40, 50, 0, 80, 60)]),
    Case(
        "not known, of a number",
        age(missing="unknown"),
        ("age", "age not known"),
        [[(x - 170 / 3) / STD, x == 170 / 3] for x in (40, 50, 170 / 3, 80, 60)],
    ),
    Case("bins", age(encoding="one_hot", edges=(50, 60)), BIN_TITLES, [A, B, B, C, C]),
    Case("bins or none", age(encoding="one_hot", edges=(50, 60), missing="zero"), BIN_TITLES, [A, B, NONE, C, C]),
    Case(
        "bins and one for unknown",
        age(encoding="one_hot", edges=(50, 60), missing="unknown"),
        (*BIN_TITLES, "age unknown"),
        [[*A, 0], [*B, 0], [*NONE, 1], [*C, 0], [*C, 0]],
    ),
    Case(
        "places among the numbers, empty 0, between two in between",
        age(encoding="integer", missing="unknown"),
        ("age",),
        [[1 / 3], [2 / 3], [0], [1], [2 / 3 + 1 / 9]],
    ),
    Case("an indicator", age(encoding="integer", indicator=True), ("age", "age not known"),
         [[1 / 3, 0], [2 / 3, 0], [2 / 3, 1], [1, 0], [2 / 3 + 1 / 9, 0]]),
    Case("one input a word", sex(encoding="one_hot"), ("sex: female", "sex: male", "sex: unknown"), [A, B, A, C, C]),
    Case("one input a word, or none", sex(encoding="one_hot", missing="zero"), ("sex: female", "sex: male"),
         [[1, 0], [0, 1], [1, 0], [0, 0], [0, 0]]),
    Case("places among the words, empty 0", sex(encoding="integer"), ("sex",), [[0.5], [1], [0.5], [0], [0]]),
    Case("rare words are not known", sex(encoding="one_hot", min_count=2), ("sex: female", "sex: unknown"),
         [[1, 0], [0, 1], [1, 0], [0, 1], [0, 1]]),
    Case("an index has no number", sex(), (), [[]] * 5),
    Case("an index and an indicator", sex(indicator=True), ("sex not known",), [[0], [0], [0], [1], [1]]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_encoding(case: Case) -> None:
    kind = "numbers" if isinstance(case.column, NumberColumn) else "words"
    encoding = fit_encoding(ROWS, TabularConfig(**{"numbers": (), "words": (), kind: (case.column,)}))
    found = encode_rows([*ROWS, {"age": "60", "sex": "other"}], encoding)
    assert encoding.continuous == tuple((case.column.name, title) for title in case.titles)
    np.testing.assert_allclose(found.continuous, np.reshape(case.expected, (5, len(case.titles))), rtol=1e-6)
    assert found.continuous.dtype == np.float32
    assert TabularEncoding.parse(json.loads(encoding.model_dump_json()), "json") == encoding


def test_a_name_alone_is_a_column_with_the_default_encoding() -> None:
    config = TabularConfig.model_validate({"numbers": ["age"], "words": ["site", {"name": "sex", "min_count": 2}]})
    assert config.numbers == (NumberColumn(name="age"),)
    assert config.words == (WordColumn(name="site"), WordColumn(name="sex", min_count=2))


def test_p1_encodes_categories_as_indices_and_fills_numbers_with_group_means() -> None:
    choices = TabularConfig(numbers=(age(missing="category_average", by="site"),))
    rows = [*ROWS, {"age": "60", "sex": "male", "site": "head/neck"}, {"age": "70", "sex": "male", "site": "head/neck"}]
    encoding = fit_encoding(rows, choices)
    assert encoding.numbers[0].averages == {"head/neck": 65.0, "torso": 45.0}
    values = read_table_values([{"site": "torso"}, {"site": "Head/Neck "}, {"site": "palms/soles"}, {}], encoding)
    found = make_network_inputs(values, encoding)
    expected = (np.array([45, 65, 60, 60]) - 60) / encoding.numbers[0].std
    np.testing.assert_allclose(found.continuous[:, 0], expected, rtol=1e-6)
    assert found.categories.tolist() == [[0, 2], [0, 1], [0, 0], [0, 0]]
    assert [(column.name, column.cardinality) for column in encoding.embedded] == [("sex", 3), ("site", 3)]
    assert values.unseen == {"site": {"palms/soles": 1}}
    gone = make_network_inputs(values.drop_columns(np.array([False, False, True])), encoding)
    np.testing.assert_array_equal(gone.continuous, 0)  # without the site there is no category to take the average of


@pytest.mark.parametrize(
    ("known", "requested", "expected"),
    [
        pytest.param(["40", "40"], "80", 1.0, id="all alike: by how large they are"),
        pytest.param(["0", "0"], "0.5", 0.5, id="all zero"),
        pytest.param(["0", "2"], "1e30", 10.0, id="no farther than ten"),
    ],
)
def test_a_standardized_number_stays_in_bounds(known: list[str], requested: str, expected: float) -> None:
    choices = TabularConfig(numbers=(NumberColumn(name="naevi"),), words=())
    encoding = fit_encoding([{"naevi": text} for text in known], choices)
    assert encode_rows([{"naevi": requested}], encoding).continuous.tolist() == [[expected]]


@pytest.mark.parametrize("age", ["540", "-1", "old"])
def test_impossible_numbers_are_unknown(age: str) -> None:
    encoding = fit_encoding([{"age": "40"}, {"age": "60"}], TabularConfig(words=()))
    values = read_table_values([{"age": age}, {"age": "120"}], encoding)
    assert values.known[:, 0].tolist() == [False, True]
    assert values.unseen == {"age": {age: 1}}


def test_cells_are_read_as_in_a_harmonized_table() -> None:
    """A model trained on a table as it came predicts from patient data in our words, and the other way round."""
    given = [
        {"age": "85+", "sex": "m", "site": "back", "elevation": "yes"},
        {"age": "52,5", "sex": "F", "site": "left forearm", "elevation": "nein"},
        {"age": "18 months", "sex": "Male", "site": "unknown", "elevation": "1.0"},
        {"age": "860", "sex": "weiblich", "site": "Chest", "elevation": "no"},
    ]
    harmonized = harmonize_rows(given).rows
    words = tuple(WordColumn(name=name) for name in ("sex", "site", "elevation"))
    choices = TabularConfig(numbers=(NumberColumn(name="age"),), words=words)
    encoding = fit_encoding(given, choices)
    assert encoding == fit_encoding(harmonized, choices)
    assert [column.words for column in encoding.words][:1] == [("female", "male")]
    for rows in (given, harmonized):
        values = read_table_values(rows, encoding)
        assert values.numbers[:, 0].tolist()[:3] == [85, 52.5, 1.5]
        assert values.codes.tolist() == [[2, 2, 2], [1, 3, 1], [2, 0, 2], [1, 1, 1]], "chest is before posterior torso"
    words_as_given = (encoding.words[0].model_copy(update={"words": ("f", "m")}), *encoding.words[1:])
    earlier = encoding.model_copy(update={"words": words_as_given})  # as earlier versions stored them
    assert read_table_values(harmonized, earlier).codes[:, 0].tolist() == [2, 1, 2, 1]
    joined = encode_rows(harmonized, join_encodings([earlier, encoding])).categories
    assert (joined[:, :3] == [[2, 2, 2], [1, 3, 1], [2, 0, 2], [1, 1, 1]]).all()
    assert (joined[:, 3:] == encode_rows(harmonized, encoding).categories).all(), "of an ensemble of both"


def test_words_of_one_meaning_keep_their_codes() -> None:
    """Earlier versions stored words as the table had them."""
    column = FittedWords(name="diagnosis", words=("melanoma", "melanoma in situ"))
    encoding = TabularEncoding(numbers=(), words=(column,), rows=2)
    cells = ("melanoma in situ", "Melanoma", "MM", "nevus")
    assert read_table_values([{"diagnosis": cell} for cell in cells], encoding).codes[:, 0].tolist() == [2, 1, 1, 0]


def test_a_comma_that_may_separate_thousands_is_not_read_in_columns_of_unknown_meaning() -> None:
    assert [read_number(cell, "cells") for cell in ("987", "0,25", "12,34")] == [987, 0.25, 12.34]
    assert math.isnan(read_number("1,234", "cells"))
    assert read_number("1,234", "depth_mm") == 1.234


def test_suggested_widths_are_those_of_fastai() -> None:
    encoding = fit_encoding(
        [{"x": str(n)} for n in range(99)], TabularConfig(numbers=(), words=(WordColumn(name="x"),))
    )
    assert (encoding.embedded[0].cardinality, encoding.embedded[0].width) == (100, 21)


cells = st.sampled_from(["", "unknown", "1", "2.5", "70", "nan", "inf", "x", "y"])
tables = st.lists(st.fixed_dictionaries({}, optional={"a": cells, "b": cells, "c": cells}), max_size=8)
choices_drawn = st.builds(
    lambda first, by, second, third: TabularConfig(
        numbers=(NumberColumn.parse({"name": "a", **first, **by}, "drawn"),),
        words=(WordColumn(name="b", encoding=second), WordColumn(name="c", encoding=third, indicator=True)),
    ),
    st.sampled_from([{}, {"encoding": "integer"}, {"encoding": "one_hot", "edges": (2.0, 50.0)}]),
    st.sampled_from(
        [{"missing": "median"}, {"missing": "zero"}, {"missing": "unknown"}, {"missing": "category_average", "by": "c"}]
    ),
    st.sampled_from(["embedding", "one_hot", "integer"]),
    st.sampled_from(["embedding", "one_hot", "integer"]),
)


@settings(max_examples=25)
@given(tables, tables, choices_drawn)
def test_laws(train: list[dict[str, str]], others: list[dict[str, str]], choices: TabularConfig) -> None:
    """Each row by itself; always finite; an empty form is a row with nothing known; taken away is as never there."""
    train = [*train, {"a": "3", "b": "x", "c": "y"}]
    encoding = fit_encoding(train, choices)
    rows = [*train, *others, {}]
    values = read_table_values(rows, encoding)
    whole = make_network_inputs(values, encoding)
    assert whole.continuous.shape == (len(rows), len(encoding.continuous))
    assert np.isfinite(whole.continuous).all()
    assert np.abs(whole.continuous).max(initial=0) <= 10
    for place, row in enumerate(rows):
        alone = encode_rows([row], encoding)
        np.testing.assert_array_equal(alone.continuous[0], whole.continuous[place])
        np.testing.assert_array_equal(alone.categories[0], whole.categories[place])
    assert not whole.known[-1].any()
    assert (whole.categories < [column.cardinality for column in encoding.embedded]).all()
    for name, fewer in drop_each_column(values, encoding).items():
        there = encode_rows([{key: cell for key, cell in row.items() if key != name} for row in rows], encoding)
        found = make_network_inputs(fewer, encoding)
        np.testing.assert_array_equal(found.continuous, there.continuous)
        np.testing.assert_array_equal(found.categories, there.categories)
        np.testing.assert_array_equal(found.known, there.known)
    some = np.arange(len(rows))[::-2]
    np.testing.assert_array_equal(
        make_network_inputs(values.select_rows(some), encoding).continuous, whole.continuous[some]
    )


@settings(max_examples=15)
@given(st.permutations(ROWS), st.lists(st.sampled_from([{"age": "99", "sex": "x", "site": "y"}, {}]), max_size=4))
def test_untrained_columns_have_no_effect(train: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    """Fitted on the rows of the training split of a table, whatever the other rows are and wherever they stand."""
    table = [*({**row, "split": "val"} for row in others), *({**row, "split": "train"} for row in train)]
    choices = choose_encodings(["age", "sex", "site"], ROWS, "integer")
    assert fit_encoding([row for row in table if row["split"] == "train"], choices) == fit_encoding(ROWS, choices)


def test_an_untrained_column_does_not_contribute() -> None:
    encoding = fit_encoding([{"age": "", "sex": "unknown", "site": "torso"}] * 3, TabularConfig())
    found = encode_rows([{"age": "50", "sex": "male"}, {}], encoding)
    assert found.categories.tolist() == [[0, 0], [0, 0]]
    assert found.continuous[1, 0] == 0
    integer = fit_encoding([{"age": ""}], TabularConfig(numbers=(age(encoding="integer"),), words=()))
    assert encode_rows([{"age": "50"}], integer).continuous.tolist() == [[0]]


@pytest.mark.parametrize(
    "name",
    [
        *("diagnosis", "patient_id", "split", "biopsed", "iddx_3", "histological_diagnosis", "dx_type", "crowd_score"),
        *("target_as_given", "depth_mm_reader_2", "clark", "mel_class", "nevus_growth_pattern", "other_scc_type"),
        *("bcc_nod", "melanocytic", "atypia", "mel_ulcer", "md5hash", "case_id", "CI_name", "split_of_the_list"),
    ],
)
def test_columns_with_the_diagnosis_are_refused(name: str) -> None:
    with pytest.raises(DataSetError, match=f"the column '{name}' .* Remove it from the list"):
        fit_encoding([{name: "x"}], TabularConfig(numbers=(), words=(WordColumn(name=name),)))


@pytest.mark.parametrize(
    ("name", "target", "refused"),
    [
        ("depth_mm", "metastasis", False),
        ("diagnosis", "metastasis", False),
        ("metastasis", "metastasis", True),
        ("clark", "depth_mm", True),
        ("ulceration", "depth_mm", False),
        ("age", "diagnosis", False),
        ("patient_distance", "melanoma", False),
        ("lesion_id", "metastasis", True),
        ("skin_cancer_history", "diagnosis", False),
        ("family_history", "melanoma", False),
        ("regression_areas_A_P", "diagnosis", False),
        ("mel_mit", "metastasis", False),
    ],
)
def test_ineligible_columns_depend_on_the_target(name: str, target: str, refused: bool) -> None:
    assert bool(explain_ineligible(name, target)) == refused


@pytest.mark.parametrize(
    ("depth", "stage"), [("0.7", 0), ("0.8", 1), ("1.0", 1), ("1.1", 2), ("2.0", 2), ("4.0", 3), ("4.1", 4), ("", 5)]
)
def test_depths_are_parted_where_stages_are(depth: str, stage: int) -> None:
    rows = [{"depth_mm": "1"}, {"depth_mm": "3"}]
    encoding = fit_encoding(rows, choose_encodings(["depth_mm"], rows, "one_hot"), target="metastasis")
    assert encode_rows([{"depth_mm": depth}], encoding).continuous.argmax() == stage


def test_columns_that_can_be_ticked() -> None:
    rows = [
        {"image_id": str(n), "age": str(n), "sex": "", "site": "torso", "itch": str(n % 2), "source": f"s{n % 2}"}
        | {"dataset": f"s{n % 2}", "also_in": f"s{n % 3}", "pixels_x": str(n % 2)}
        | {"notes": f"seen on day {n}", "diagnosis": f"d{n % 2}", "patient_distance": f"{n}.5"}
        for n in range(120)
    ]
    assert list_eligible_columns(rows) == ("age", "itch", "patient_distance")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([], "found none", id="no row"),
        pytest.param([{"age": "5", "site": ""}], r"no column 'sex'\. Correct its name", id="no such column"),
    ],
)
def test_columns_that_cannot_be_fitted_raise(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        fit_encoding(rows, TabularConfig())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"numbers": [{"name": "age", "encoding": "one_hot"}]}, "edges are given for the encoding one_hot"),
        ({"numbers": [{"name": "age", "encoding": "one_hot", "edges": [5, 5]}]}, "expected each above the one before"),
        ({"numbers": [{"name": "age", "missing": "category_average"}]}, "by is given with missing"),
        (
            {"numbers": [{"name": "age", "missing": "category_average", "by": "eye"}]},
            "expected one of the columns of words",
        ),
        ({"words": [{"name": "age"}]}, r"age: named twice, .* \(by default age is in numbers"),
    ],
)
def test_choices_that_do_not_fit_together(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TabularConfig.parse(given, "a recipe")


def test_choices_follow_the_schema_and_the_style() -> None:
    rows = [{"age": "50", "patient_rank": str(n), "itch": str(n % 2)} for n in range(12)]
    names = ["age", "fitzpatrick", "family_history", "patient_rank", "itch"]
    for style, encodings in (("embedding", "standardised"), ("one_hot", "one_hot"), ("integer", "integer")):
        found = choose_encodings(names, rows, style)
        assert [column.name for column in found.numbers] == ["age", "patient_rank"]
        assert {column.encoding for column in found.numbers} == {encodings}
        assert {column.encoding for column in found.words} == {style}
    bins = choose_encodings(["age", "patient_rank"], rows, "one_hot").numbers
    assert [column.edges for column in bins] == [BIN_EDGES["age"], (2.75, 5.5, 8.25)]
    with pytest.raises(DataSetError, match="no input column was given"):
        choose_encodings([], rows)


def test_a_table_for_models_that_accept_missing_values() -> None:
    matrix, categorical = to_matrix(read_table_values([*ROWS, {}], fit_encoding(ROWS, TabularConfig())))
    gap = np.nan
    np.testing.assert_array_equal(
        matrix, [[40, 1, 1], [50, 2, 1], [gap, 1, 2], [80, gap, gap], [gap, gap, gap]], strict=True
    )
    assert categorical.tolist() == [False, True, True]


def test_a_bundle_carries_the_encoding_and_refuses_a_newer_one() -> None:
    config = BundleConfig(name="b", title="B", architecture="none", tabular=fit_encoding(ROWS, TabularConfig()))
    kept = json.loads(config.model_dump_json())
    assert BundleConfig.parse(kept, "config.json") == config
    kept["tabular"]["version"] = 2
    with pytest.raises(ConfigError, match=r"tabular.version' is 2; input should be 1"):
        BundleConfig.parse(kept, "config.json")


def test_unknown_has_one_spelling() -> None:
    assert taxonomy.UNKNOWN == UNKNOWN


@pytest.mark.parametrize(("name", "source"), [("isic2017", "isic2017"), ("pad_ufes", "pad-ufes-20")])
def test_real_tables_become_inputs(shared_data: Path, name: str, source: str) -> None:
    rows = harmonize_rows(TableFile.read(shared_data / name / "metadata.csv").rows(), source).rows
    train = [row for row in rows if row["split"] == "train"]
    names = list_eligible_columns(train, "melanoma")
    assert {"age", "sex", "site"} <= set(names)
    assert not {"melanoma", "target", "diagnosis", "diagnostic", "biopsed", "split", "image_id"} & set(names)
    for style in ("embedding", "one_hot", "integer"):
        encoding = fit_encoding(train, choose_encodings(names, train, style), "melanoma")
        values = read_table_values(rows, encoding)
        found = make_network_inputs(values, encoding)
        assert np.isfinite(found.continuous).all()
        assert len(found.continuous) == len(rows)
        assert values.known[:, encoding.fields.index("age")].mean() > 0.85
        assert not set(values.unseen) & {"age", "sex", "site"}
