"""Patient-relative features find the unusual lesion, from that patient's rows only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_melanoma.data.patient_outliers import (
    DISTANCE_COLUMN,
    EMBEDDING_COLUMNS,
    MAX_ROBUST_Z,
    list_patient_columns,
    measure_patient_relative,
    robust_z,
)

MEASURED = ("asymmetry", "area_mm2")


def patient(name: str, values: list[tuple[float | str, float | str]], **others: str) -> list[dict[str, object]]:
    return [dict(zip(MEASURED, pair, strict=True)) | {"patient_id": name, **others} for pair in values]


ALIKE = [(0.10, 4.0), (0.12, 4.4), (0.11, 3.9), (0.09, 4.1)]


def test_the_odd_one_is_far_from_the_others_and_first_in_rank() -> None:
    found = measure_patient_relative(patient("p", [*ALIKE, (0.4, 12.0)]), MEASURED)
    assert [row["patient_rank"] for row in found].index(1) == 4
    assert found[4][DISTANCE_COLUMN] > 2 * max(row[DISTANCE_COLUMN] for row in found[:4])
    assert found[4]["patient_z_asymmetry"] == MAX_ROBUST_Z
    assert found[0]["patient_lesions"] == 5
    assert sorted(row["patient_rank"] for row in found) == [1, 2, 3, 4, 5]


def test_figures_match_the_definition() -> None:
    found = measure_patient_relative(patient("p", [(1, ""), (2, ""), (4, ""), (7, "")]), MEASURED)
    scale = 1.4826 * 1.5  # the median is 3, the deviations 2, 1, 1 and 4
    assert [row["patient_z_asymmetry"] for row in found] == pytest.approx([x / scale for x in (-2, -1, 1, 4)])
    assert found[3][DISTANCE_COLUMN] == pytest.approx((6 + 5 + 3) / 3 / scale)
    assert all(math.isnan(row["patient_z_area_mm2"]) for row in found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 1, 1, 5], [0, 0, 0, 4 / 1.2533], id="a MAD of 0 gives way to the mean deviation"),
        pytest.param([0.3, 0.1 + 0.2, 0.3], [0, 0, 0], id="rounding is no difference"),
        pytest.param([1, 2, math.nan], [math.nan] * 3, id="two give nan"),
        pytest.param([1, 2, 3, math.nan], [-1 / 1.4826, 0, 1 / 1.4826, math.nan], id="what is not known stays so"),
        pytest.param([], [], id="no lesion"),
    ],
)
def test_robust_z(values: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(robust_z(np.array(values, float)), expected)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(patient("p", ALIKE[:2]), id="two lesions"),
        pytest.param(patient("", ALIKE), id="no patient"),
        pytest.param(patient("p", ALIKE, lesion_id="l"), id="four images of one lesion"),
        pytest.param(patient("p", ALIKE[:2]) + patient("p", ALIKE[2:], modality="macroscopic"), id="two modalities"),
    ],
)
def test_fewer_than_three_lesions_give_nan(rows: list[dict[str, object]]) -> None:
    for row in measure_patient_relative(rows, MEASURED, np.ones((len(rows), 2))):
        row.pop("patient_lesions")
        assert all(math.isnan(value) for value in row.values())


def test_images_of_a_lesion_count_once_and_get_the_same() -> None:
    """Two more images of the odd lesion do not make it the rule."""
    rows = patient("p", [*ALIKE[:3], (0.4, 12.0), (0.41, 12.1), (0.39, "")])
    for number, row in enumerate(rows):
        row["lesion_id"] = f"l{min(number, 3)}"
    found = measure_patient_relative(rows, MEASURED)
    assert found[3] == found[4] == found[5]
    assert (found[3]["patient_lesions"], found[3]["patient_rank"]) == (4, 1)


def test_an_embedding_that_points_elsewhere_is_the_odd_one() -> None:
    embeddings = np.array([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [np.nan, np.nan]])
    found = measure_patient_relative(patient("p", [*ALIKE, ALIKE[0]]), MEASURED, embeddings)
    distance, z, rank = EMBEDDING_COLUMNS
    cosine = (1 - 0.1 / math.hypot(1, 0.1) + 1 + 1 + 0.1 / math.hypot(1, 0.1)) / 3
    assert found[3][distance] == pytest.approx(cosine)
    assert (found[3][rank], found[3][z]) == (1, MAX_ROBUST_Z)
    assert math.isnan(found[4][distance])
    assert tuple(found[0]) == list_patient_columns(MEASURED, embedded=True)


cells = st.one_of(st.just(""), st.floats(-1e6, 1e6))


@settings(max_examples=20)
@example([("b", "", 0.0, ""), ("b", "", 0.0, ""), ("b", "", 1.0, ""), ("b", "", 5.0, "")])
@example([("b", "", "", 0.0), ("b", "", "", 0.0), ("b", "", "", 1.0), ("b", "", "", 5.0)])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2"]), cells, cells), max_size=15))
def test_other_patients_and_the_order_have_no_effect(drawn: list[tuple[str, str, float | str, float | str]]) -> None:
    rows = [
        {"patient_id": who, "lesion_id": lesion, "asymmetry": first, "area_mm2": second}
        for who, lesion, first, second in drawn
    ]
    whole = measure_patient_relative(rows, MEASURED)
    for who in "abc":
        places = [place for place, row in enumerate(rows) if row["patient_id"] == who][::-1]
        alone = measure_patient_relative([rows[place] for place in places], MEASURED)
        for place, row in zip(places, alone, strict=True):
            assert list(row.values()) == pytest.approx(list(whole[place].values()), nan_ok=True)


def test_a_patient_with_thousands_of_tiles_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = patient("p", [(float(n % 7), float(n % 5)) for n in range(60)])
    whole = measure_patient_relative(rows, MEASURED)
    monkeypatch.setattr("napari_melanoma.data.patient_outliers.MAX_VALUES_AT_ONCE", 500)
    for one, other in zip(whole, measure_patient_relative(rows, MEASURED), strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()))


def test_unknown_patients_and_lesions_are_not_one() -> None:
    rows = [row for name in ("unknown", "n/a", "") for row in patient(name, ALIKE)]
    assert all(math.isnan(row["patient_lesions"]) for row in measure_patient_relative(rows, MEASURED))
    found = measure_patient_relative(patient("p", ALIKE, lesion_id="unknown"), MEASURED)
    assert [row["patient_lesions"] for row in found] == [4] * 4


def test_a_patient_may_be_written_in_several_ways() -> None:
    rows = [row for name, pair in zip(("007", "7", "7.0", "7 "), ALIKE, strict=True) for row in patient(name, [pair])]
    assert [row["patient_lesions"] for row in measure_patient_relative(rows, MEASURED)] == [4] * 4
