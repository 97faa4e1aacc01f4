"""Domain shift: equal sources cannot be separated, different ones can, by the feature in which they differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.data import dataset_report
from napari_melanoma.data.dataset_report import ALL_FEATURES, ALL_OTHERS, bootstrap_auc, measure_domain_shifts

EACH = 60


def drawn(shift: float, sources: int = 2) -> tuple[dict, list[str], list[str]]:
    """Images of several sources, two a patient: ``tint`` is shifted from one source to the next, ``noise`` is not."""
    rng = np.random.default_rng(1)
    names = [f"s{number}" for number in range(sources) for _ in range(EACH)]
    groups = [f"{name}/p{place // 2}" for place, name in enumerate(names)]
    offset = np.repeat(np.arange(sources), EACH) * shift
    families = {
        "looks": {"tint": rng.normal(size=len(names)) + offset, "noise": rng.normal(size=len(names))},
        "table": {"age": rng.normal(50, 10, len(names)), "never known": np.full(len(names), np.nan)},
    }
    return families, names, groups


def test_equal_sources_cannot_be_separated() -> None:
    (shift,), left_out = measure_domain_shifts(*drawn(0.0))
    for found in shift.auc.values():
        assert found.low < 0.55
        assert found.value < 0.65
    assert left_out == []


def test_different_sources_are_separated_by_the_differing_feature() -> None:
    (shift,), _ = measure_domain_shifts(*drawn(2.0))
    assert (shift.first, shift.second, shift.images, shift.family) == ("s0", "s1", (EACH, EACH), "looks")
    assert shift.auc["looks"].low > 0.8
    assert shift.auc["looks"].value == pytest.approx(0.92, abs=0.05)  # of two normal distributions two deviations apart
    assert shift.auc["table"].value < 0.65
    assert shift.auc[ALL_FEATURES].value > 0.85
    assert shift.feature_aucs[0][0] == "tint"
    assert "never known" not in dict(shift.feature_aucs)


def test_images_of_one_patient_stay_in_one_fold() -> None:
    """A feature that identifies the patient does not generalize to the source of other patients."""
    rng = np.random.default_rng(0)
    names = ["a"] * EACH + ["b"] * EACH
    groups = [f"{name}{place // 4}" for place, name in enumerate(names)]
    own = {group: rng.normal() for group in groups}
    features = {"looks": {"patient": np.array([own[group] for group in groups])}}
    (shift,), _ = measure_domain_shifts(features, names, groups)
    assert shift.auc["looks"].low < 0.5 < shift.auc["looks"].high


def test_a_patient_in_both_sources_is_in_one_fold() -> None:
    """Each patient is once in each source: training on one and testing on the other gives reversed predictions."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=EACH)
    names = ["a"] * EACH + ["b"] * EACH
    groups = [f"p{place}" for place in range(EACH)] * 2
    (shift,), _ = measure_domain_shifts({"looks": {"patient": np.concatenate([own, own])}}, names, groups)
    assert shift.auc["looks"].value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("patients", [1, 3])
def test_columns_of_few_patients_are_not_features(patients: int) -> None:
    families, names, groups = drawn(0.0)
    groups[:20] = [f"s0/p{place % patients}" for place in range(20)]
    age = families["table"]["age"]
    age[20:EACH] = np.nan
    (shift,), _ = measure_domain_shifts(families, names, groups)
    assert "table" not in shift.auc
    assert "age" not in dict(shift.feature_aucs)


def test_many_sources_are_each_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_report, "MAX_PAIRED_SOURCES", 2)
    families, names, groups = drawn(3.0, sources=3)
    shifts, _ = measure_domain_shifts({"looks": {"tint": families["looks"]["tint"]}}, names, groups)
    assert len(shifts) == 3
    assert {shift.second for shift in shifts} == {ALL_OTHERS}
    assert all(sum(shift.images) == 3 * EACH for shift in shifts)


def test_a_source_may_be_named_all_others() -> None:
    families, names, groups = drawn(1.0, sources=3)
    renamed = [ALL_OTHERS if name == "s1" else name for name in names]
    shifts, _ = measure_domain_shifts({"looks": families["looks"]}, renamed, groups)
    assert {(shift.first, shift.second) for shift in shifts} == {("s0", ALL_OTHERS), ("s0", "s2"), (ALL_OTHERS, "s2")}
    assert {shift.images for shift in shifts} == {(EACH, EACH)}


def test_a_source_of_few_patients_is_named() -> None:
    families, names, groups = drawn(1.0)
    names[:4] = ["rare"] * 4
    shifts, left_out = measure_domain_shifts(families, names, groups)
    assert len(shifts) == 1
    assert left_out == ["rare (2 patients, lesions or images)"]


def test_features_that_only_one_source_has_are_left_out() -> None:
    families, names, groups = drawn(1.0)
    families["table"]["age"][:EACH] = np.nan
    (shift,), _ = measure_domain_shifts(families, names, groups)
    assert set(shift.auc) == {"looks", ALL_FEATURES}


def test_columns_without_values_have_an_auc_of_one_half() -> None:
    _, names, groups = drawn(1.0)
    (shift,), _ = measure_domain_shifts({"looks": {"x": np.full(len(names), np.nan)}}, names, groups)
    assert shift.auc[ALL_FEATURES].value == 0.5
    assert shift.feature_aucs == ()


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=40))
@pytest.mark.slow
def test_the_area_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    pairs += [(1, True), (2, False)]
    scores, truth = np.array([float(score) for score, _ in pairs]), np.array([true for _, true in pairs])
    found = bootstrap_auc(scores, truth, np.arange(len(pairs)))
    assert found.value == pytest.approx(roc_auc_score(truth, scores))
    assert 0 <= found.low <= found.high <= 1
    turned = bootstrap_auc(-scores, truth, np.arange(len(pairs)))
    assert turned.value == pytest.approx(1 - found.value)


def test_missing_images_do_not_separate_sources() -> None:
    families, names, groups = drawn(0.0)
    for values in families["looks"].values():
        values[EACH // 2 : EACH] = np.nan  # half of the images of the first source
    (shift,), _ = measure_domain_shifts(families, names, groups)
    assert shift.auc["looks"].low < 0.5 < shift.auc["looks"].high
