"""Reference cases of a classifier are kept when a bundle is written, read and installed; damaged ones are refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import BundleError, SaveError
from napari_melanoma.core.prediction_config import ClassifierConfig
from napari_melanoma.models import installed_bundles
from napari_melanoma.models.bundle import (
    REFERENCE_FILE,
    BundleConfig,
    BundleInfo,
    ReferenceCases,
    choose_training_cases,
    number_groups,
    read_bundle,
    read_reference,
    write_bundle,
    write_reference,
)

CONFIG = BundleConfig(
    name="requested",
    title="requested",
    task="classification",
    architecture="image_tabular",
    classes=("other", "melanoma"),
    classifier=ClassifierConfig(),
)


@pytest.fixture
def reference() -> ReferenceCases:
    """Five validation cases and three training cases."""
    random = np.random.default_rng(0)
    return ReferenceCases(
        logits=random.normal(size=(5, 2)).astype(np.float32),
        labels=np.array([0, 1, 0, 0, 1]),
        groups=np.array([0, 0, 1, 2, 3]),
        embeddings=random.normal(size=(3, 4)).astype(np.float16),
        embedded_labels=np.array([1, 0, 0]),
        embedded_ids=("ISIC_1", "ISIC_2", "öäü"),
    )


@pytest.fixture
def bundle(tmp_path: Path, reference: ReferenceCases) -> BundleInfo:
    """A bundle with these cases, whose network is a single layer."""
    from torch import nn

    return write_bundle(tmp_path / "requested", CONFIG, nn.Linear(2, 2), "# asked\n", reference)


def same(one: ReferenceCases | None, other: ReferenceCases) -> bool:
    """Whether all arrays and ids are equal."""
    assert one is not None
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


def test_a_reference_is_written_and_read(bundle: BundleInfo, reference: ReferenceCases) -> None:
    """Arrays keep their types, and ids their letters."""
    found = read_reference(read_bundle(bundle.path))
    assert same(found, reference)
    assert found.embeddings.dtype == np.float16
    assert found.embedded_ids == ("ISIC_1", "ISIC_2", "öäü")


def test_a_bundle_without_reference_has_none(tmp_path: Path) -> None:
    from torch import nn

    info = write_bundle(tmp_path / "requested", CONFIG, nn.Linear(2, 2), "")
    assert read_reference(info) is None
    assert not (info.path / REFERENCE_FILE).exists()


def test_ids_are_stored_only_if_given(tmp_path: Path, reference: ReferenceCases) -> None:
    """The file contains no image ids otherwise."""
    write_reference(tmp_path, replace(reference, embedded_ids=()))
    assert b"ISIC" not in (tmp_path / REFERENCE_FILE).read_bytes()
    assert read_reference(BundleInfo(tmp_path, CONFIG)).embedded_ids == ()


def test_an_installed_bundle_keeps_its_reference(
    bundle: BundleInfo, reference: ReferenceCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path / "mine")
    assert same(read_reference(installed_bundles.install_bundle(bundle, "another")), reference)


def test_non_finite_references_are_not_written(bundle: BundleInfo, reference: ReferenceCases) -> None:
    """The previous bundle is kept, and no temporary file is left."""
    from torch import nn

    broken = replace(reference, logits=np.full((5, 2), np.nan, np.float32))
    with pytest.raises(SaveError, match="not finite"):
        write_bundle(bundle.path, CONFIG, nn.Linear(2, 2), "", broken)
    assert same(read_reference(bundle), reference)
    assert [path.name for path in bundle.path.parent.iterdir()] == ["requested"]


def test_arrays_of_different_lengths_are_refused(reference: ReferenceCases) -> None:
    with pytest.raises(ValueError, match="5 logits, 4 labels"):
        replace(reference, labels=np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="1 ids"):
        replace(reference, embedded_ids=("one",))


DAMAGE = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:40]), "cannot read"),
    "text": (lambda path: path.write_text("no tensors"), "cannot read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(bundle: BundleInfo, damage: str) -> None:
    break_it, message = DAMAGE[damage]
    break_it(bundle.path / REFERENCE_FILE)
    with pytest.raises(BundleError, match=message) as caught:
        read_reference(bundle)
    assert "Download or copy the bundle again" in str(caught.value)


WRONG = {
    "classes": ({"logits": np.zeros((5, 3), np.float32)}, "3 classes, expected 2"),
    "labels": ({"labels": np.array([0, 1, 2, 0, 1])}, "expected 0 to 1"),
    "flat": ({"embeddings": np.zeros(3, np.float16)}, "1 dimensions, expected float16 with 2"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_arrays_that_do_not_fit_the_bundle_are_refused(
    bundle: BundleInfo, reference: ReferenceCases, wrong: str
) -> None:
    """Predictions with such cases would be wrong."""
    change, message = WRONG[wrong]
    write_reference(bundle.path, replace(reference, **change))
    with pytest.raises(BundleError, match=message):
        read_reference(bundle)


def test_reading_needs_no_torch(bundle: BundleInfo) -> None:
    """The viewer may read it."""
    code = (
        "import sys; from pathlib import Path; from napari_melanoma.models.bundle import read_bundle; "
        "from napari_melanoma.models.bundle import read_reference; "
        f"assert read_reference(read_bundle(Path({str(bundle.path)!r}))); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_patient_identifiers_are_anonymous_numbers() -> None:
    assert number_groups(["P9", "P1", "P9", "P3"]).tolist() == [0, 1, 0, 2]


def test_chosen_cases_keep_the_class_frequencies() -> None:
    """Few cases are all kept; of many, a random subset with at least one of each class."""
    labels = np.repeat([0, 1, 2], [9000, 999, 1])
    chosen = choose_training_cases(labels, max_count=1000)
    assert np.bincount(labels[chosen]).tolist() == [900, 100, 1]
    assert len(set(chosen)) == len(chosen)
    assert (np.diff(chosen) > 0).all()
    assert choose_training_cases(labels[:500]).tolist() == list(range(500))
