"""The modalities of a new bundle, networks that diverged, and the names of sample pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import TrainingDiverged
from napari_melanoma.data.dataset import Sample
from napari_melanoma.runs.bundling import NetworkOutputs, choose_modalities
from napari_melanoma.runs.task_setups import name_samples


@pytest.mark.parametrize(
    ("named", "seen", "expected"),
    [
        ((), ["macroscopic", "dermoscopic", "macroscopic"], ("dermoscopic", "macroscopic")),
        (("tbp_tile",), ["dermoscopic"], ("tbp_tile", "dermoscopic")),
        ((), [None, None], ()),
        ((), ["macroscopic", None], ()),  # "macroscopic only" would be wrong
        (("dermoscopic",), ["macroscopic", None], ("dermoscopic", "macroscopic")),
    ],
)
def test_the_modalities_include_those_of_the_training_images(
    named: tuple[str, ...], seen: list[str | None], expected: tuple[str, ...]
) -> None:
    assert choose_modalities(named, seen) == expected


def test_sample_pictures_of_two_data_sets_have_different_names() -> None:
    """Data sets may use the same ids; one picture would replace the other."""
    images = [("first", "i1"), ("second", "i1"), ("second", "i2")]
    samples = [Sample(name, Path("x.png"), None, name, "", domain) for domain, name in images]
    assert name_samples(samples) == ["first/i1", "second/i1", "i2"]


def test_outputs_that_are_not_finite_are_refused() -> None:
    logits, embeddings = np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)
    NetworkOutputs(logits, np.zeros(4, np.int64), embeddings)
    logits[0, 1], embeddings[2] = np.nan, np.inf
    with pytest.raises(TrainingDiverged, match=r"not finite numbers, for 2 of 4 images: .* lower learning_rate"):
        NetworkOutputs(logits, np.zeros(4, np.int64), embeddings)
