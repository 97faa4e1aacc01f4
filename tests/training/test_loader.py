"""The order of images follows from seed and epoch."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.training.cache import build_cache
from napari_melanoma.training.loader import AugmentedSamples, EpochSampler, check_sizes, training_loader
from napari_melanoma.training.recipe import TrainRecipe


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    sampler = EpochSampler(50, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch}
        orders.append([key[1] for key in keys])
    assert sorted(orders[0]) == list(range(50))
    assert orders[0] == orders[2] != orders[1]


def test_batches_repeat_with_the_epoch(recipe: TrainRecipe, blobs: Path, tmp_path: Path) -> None:
    import torch

    cache = build_cache(read_dataset(blobs), 48, tmp_path, run=RunContext())
    first, second = training_loader(cache, recipe), training_loader(cache, recipe)
    next(iter(first))  # draws from torch's generator in between change nothing
    for (images, masks), (others, other_masks) in zip(first, second, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(masks, other_masks)
        assert images.shape == (4, 3, 32, 32)


def test_cache_is_opened_again_and_changes_with_the_files(blobs: Path, tmp_path: Path) -> None:
    samples = read_dataset(blobs)
    first = build_cache(samples, 48, tmp_path, run=RunContext())
    build_cache(samples, 48, tmp_path, run=RunContext())
    assert len(list(tmp_path.iterdir())) == 1
    build_cache(samples[:5], 48, tmp_path, run=RunContext())
    assert len(list(tmp_path.iterdir())) == 2
    assert set(np.unique(first.masks)) == {0, 255}


def test_cancelled_cache_leaves_nothing(blobs: Path, tmp_path: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        build_cache(read_dataset(blobs), 48, tmp_path, run=run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("train", "tuning", "batch", "said"),
    [(1, 1, 1, "at least 2"), (10, 0, 4, "at least 2"), (3, 1, 4, "Lower batch_size"), (4, 1, 4, None)],
)
def test_sizes(train: int, tuning: int, batch: int, said: str | None) -> None:
    fault = check_sizes([0] * train, [0] * tuning, batch)
    assert fault is None if said is None else said in str(fault)


def test_samples_travel_to_another_process_without_their_pixels(
    recipe: TrainRecipe, blobs: Path, tmp_path: Path
) -> None:
    import torch

    samples = AugmentedSamples(build_cache(read_dataset(blobs), 48, tmp_path, run=RunContext()), recipe)
    here = samples[1, 3]
    sent = pickle.dumps(samples)
    assert len(sent) < 20_000 < samples._cache.images.nbytes
    there = pickle.loads(sent)[1, 3]
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])


def test_a_cache_that_nobody_used_for_long_is_removed(blobs: Path, tmp_path: Path) -> None:
    samples = read_dataset(blobs)
    old = build_cache(samples[:3], 48, tmp_path, run=RunContext()).folder
    month_ago = time.time() - 31 * 86400
    os.utime(old, (month_ago, month_ago))
    new = build_cache(samples, 48, tmp_path, run=RunContext()).folder
    assert list(tmp_path.iterdir()) == [new]
