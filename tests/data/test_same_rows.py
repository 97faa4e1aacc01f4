"""Rows about one image are merged: completed, the most specific words first, contradictions listed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.merging import DatasetRow, MergeConflict, group_by_image, identify_image, merge_rows
from napari_melanoma.data.taxonomy import load_taxonomy


def origins(*rows: dict[str, str], image_id: str = "ISIC_0000001") -> list[DatasetRow]:
    return [DatasetRow(PackedRow(row), f"set{n}", image_id, (-n,)) for n, row in enumerate(rows)]


SAME = {
    "the archive's name": (("ISIC_0000001", "isic2017"), ("ISIC_0000001", "isic2019"), True),
    "a smaller copy of it": (("ISIC_0000001", "isic2017"), ("ISIC_0000001_downsampled", "isic2019"), True),
    "the name in another case": (("ISIC_0000001", "isic2017"), ("isic_0000001", "mine"), True),
    "another archive": (("PAT_1_2_3", "pad_ufes"), ("PAT_1_2_3", "pad-ufes-20"), True),
    "one public set twice": (("A1", "dermofit"), ("A1", "dermofit"), True),
    "a short name of one set": (("IMD003", "ph2"), ("IMD003", "mine"), False),
    "a name of two sets": (("A1", "dermofit"), ("A1", "mine"), False),
    "nearly the archive's name": (("ISIC_1", "a"), ("ISIC_1", "b"), False),
}


@pytest.mark.parametrize(("one", "other", "same"), SAME.values(), ids=list(SAME))
def test_which_rows_are_about_one_image(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    assert (identify_image(*one) == identify_image(*other)) is same


UNITED = {
    "what is open is filled in": ([{"age": "50"}, {"sex": "male"}], {"age": "50", "sex": "male"}, []),
    "unknown is open": ([{"sex": "unknown"}, {"sex": "male"}], {"sex": "male"}, []),
    "the more exact word counts": (
        [{"site": "torso"}, {"site": "anterior torso", "sub_site": "chest"}],
        {"site": "anterior torso", "sub_site": "chest"},
        [],
    ),
    "the more exact diagnosis brings what follows from it": (
        [
            {"diagnosis": "actinic keratosis or intraepithelial carcinoma", "melanoma": "0"},
            {"diagnosis": "actinic keratosis", "target": "0", "melanoma": "0"},
        ],
        {"diagnosis": "actinic keratosis", "target": "0", "melanoma": "0"},
        [],
    ),
    "the vaguer one changes nothing": ([{"site": "anterior torso"}, {"site": "torso"}], {"site": "anterior torso"}, []),
    "a number written otherwise": ([{"age": "50"}, {"age": "50.0"}], {"age": "50"}, []),
    "a contradiction": ([{"age": "50"}, {"age": "55"}], {"age": "50"}, ["age"]),
    "the sets' own affairs": ([{"source": "a", "split": "train"}, {"source": "b", "split": "test"}], {}, []),
    "a column of its own": ([{"camera": "X"}, {"camera": "Y"}], {"camera": "X"}, ["camera"]),
    "what follows from another diagnosis is not taken": (
        [{"diagnosis": "nevus"}, {"diagnosis": "melanoma", "diagnosis_detail": "nodular melanoma", "age": "50"}],
        {"diagnosis": "nevus", "age": "50"},
        ["diagnosis", "diagnosis_detail"],
    ),
    "nor a diagnosis against the target": (
        [{"target": "0"}, {"target": "1", "diagnosis": "melanoma"}],
        {"target": "0"},
        ["target", "diagnosis"],
    ),
}


@pytest.mark.parametrize(("rows", "expected", "columns"), UNITED.values(), ids=list(UNITED))
def test_rows_are_united(rows: list[dict[str, str]], expected: dict[str, str], columns: list[str]) -> None:
    row, conflicts = merge_rows(origins(*rows))
    assert row == {**rows[0], **expected, "also_in": "set1"}
    assert [one.column for one in conflicts] == columns


def test_a_conflict_names_both_sources() -> None:
    _, conflicts = merge_rows(origins({}, {"age": "50"}, {"age": "55"}))
    assert conflicts == [MergeConflict("ISIC_0000001", "age", "50", "set1", "55", "set2")]


def test_rows_of_one_data_set_stay_apart() -> None:
    rows = [DatasetRow(PackedRow({}), "mine", name, (0,)) for name in ("ISIC_0000001", "ISIC_0000001_downsampled")]
    assert [len(group) for group in group_by_image(rows)] == [1, 1]


WORDS = {
    "age": st.sampled_from(["40", "40.0", "41"]),
    "site": st.sampled_from(load_taxonomy("site").words),
    "diagnosis": st.sampled_from(["nevus", "melanoma", "unknown"]),
    "target": st.sampled_from(["0", "1"]),
    "camera": st.sampled_from(["X", "Y"]),
}
ROWS = st.lists(st.fixed_dictionaries({}, optional=WORDS), min_size=1, max_size=4)


@settings(max_examples=50)
@given(ROWS)
def test_known_values_are_kept(rows: list[dict[str, str]]) -> None:
    row, conflicts = merge_rows(origins(*rows))
    for number, member in enumerate(rows):
        for column, text in member.items():
            listed = any((one.column, one.other, one.other_from) == (column, text, f"set{number}") for one in conflicts)
            below = column == "site" and load_taxonomy("site").is_within(row[column], text)
            same = column == "age" and float(row[column]) == float(text)
            assert row.get(column) == text or text == "unknown" or listed or below or same


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional=WORDS))
def test_a_row_united_with_itself_stays_as_it_is(row: dict[str, str]) -> None:
    again, conflicts = merge_rows(origins(row, row))
    assert not conflicts
    assert {column: text for column, text in again.items() if column != "also_in"} == row
