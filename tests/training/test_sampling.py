"""The images of each step: the same in every process, in full steps, with the configured shares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import RunError
from napari_melanoma.training.loader import SINGLE_PROCESS, EpochSampler, Rank, StepShares, divide_step
from napari_melanoma.training.recipe import DataConfig

DATA = DataConfig(datasets=("somewhere",))


def sampler(count: int, step: StepShares, replay: int = 0, rank: Rank = SINGLE_PROCESS, seed: int = 1) -> EpochSampler:
    return EpochSampler([""] * count, replay, step, seed, rank)


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    order = sampler(50, StepShares(10))
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        batches = list(order)
        assert [len(keys) for keys in batches] == [10] * 5
        assert len(order) == 5
        keys = np.concatenate(batches)
        assert set(keys[:, 0]) == {epoch}
        epochs.append(keys[:, 1].tolist())
    assert sorted(epochs[0]) == list(range(50))
    assert epochs[0] == epochs[2] != epochs[1]


def test_an_epoch_has_full_steps_and_omits_different_images_each_time() -> None:
    order = sampler(11, StepShares(4))
    left_out = [set(range(11)) - set(order.keys(epoch)[..., 1].ravel().tolist()) for epoch in range(20)]
    assert {len(images) for images in left_out} == {3}
    assert set().union(*left_out) == set(range(11))


@given(
    train=st.integers(2, 40),
    replay=st.integers(0, 30),
    batch=st.integers(2, 20),
    sampling=st.sampled_from(["shuffle", "balanced", "mixed"]),
    epoch=st.integers(0, 200),
)
@settings(max_examples=60)
def test_step_has_the_requested_shares(train: int, replay: int, batch: int, sampling: str, epoch: int) -> None:
    config = DATA.model_copy(update={"sampling": sampling})
    step = divide_step(config, batch, train, replay)
    assert step.total == (batch if replay else min(batch, train))
    assert step.train >= 1
    assert (step.replay >= 1) == (replay > 0)
    order = sampler(train, step, replay)
    keys = order.keys(epoch)
    assert keys.shape == (max(1, train // step.train), step.total, 2)
    images = keys[..., 1] % order.total
    assert (np.sum(images >= train, axis=1) == step.replay).all()
    assert len(np.unique(keys[..., 1])) == keys[..., 1].size  # a repeated image is augmented differently
    assert keys.min() >= 0


@pytest.mark.parametrize(("processes", "accumulate_batches"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_ranks_and_micro_batches_share_the_same_steps(processes: int, accumulate_batches: int) -> None:
    step = StepShares(shuffled=4, balanced=2, replay=2)
    whole = sampler(30, step, replay=9).keys(3)
    found = []
    for rank in range(processes):
        order = sampler(30, step, replay=9, rank=Rank(rank, processes, accumulate_batches))
        order.set_epoch(3)
        batches = list(order)
        assert len(batches) == len(order) == len(whole) * accumulate_batches
        assert {len(batch) for batch in batches} == {8 // processes // accumulate_batches}
        found.append(np.concatenate(batches).reshape(len(whole), -1, 2))
    together = np.concatenate(found, axis=1)
    np.testing.assert_array_equal(np.sort(together[..., 1], axis=1), np.sort(whole[..., 1], axis=1))


def test_each_rank_gets_images_of_all_sources() -> None:
    order = sampler(64, StepShares(shuffled=8, replay=8), replay=64, rank=Rank(0, 2))
    images = np.concatenate([keys for epoch in range(10) for keys in _epoch(order, epoch)])[:, 1] % order.total
    assert 0.4 < np.mean(images >= 64) < 0.6


def test_a_step_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(RunError, match="multiple of 4"):
        sampler(30, StepShares(6), rank=Rank(0, 2, 2))


def test_balanced_sampling_draws_all_classes_equally_often() -> None:
    classes = ["nevus"] * 90 + ["melanoma"] * 10
    order = EpochSampler(classes, 0, divide_step(DATA.model_copy(update={"sampling": "balanced"}), 10, 100, 0), seed=0)
    images = np.concatenate([order.keys(epoch)[..., 1].ravel() for epoch in range(20)]) % 100
    assert 0.45 < np.mean(images >= 90) < 0.55


def test_mixed_sampling_shuffles_half_of_a_step() -> None:
    classes = ["nevus"] * 90 + ["melanoma"] * 10
    step = divide_step(DATA.model_copy(update={"sampling": "mixed"}), 10, 100, 0)
    assert step == StepShares(shuffled=5, balanced=5)
    order = EpochSampler(classes, 0, step, seed=0)
    images = np.concatenate([order.keys(epoch)[..., 1].ravel() for epoch in range(40)]) % 100
    assert 0.25 < np.mean(images >= 90) < 0.35


def test_replay_images_are_repeated_only_after_all_were_used() -> None:
    order = sampler(6, StepShares(shuffled=3, replay=2), replay=7)
    images = np.concatenate([order.keys(epoch)[..., 1].ravel() for epoch in range(7)]) % order.total
    drawn = images[images >= 6]
    assert len(drawn) == 28
    assert set(Counter(drawn.tolist()).values()) == {4}


def _epoch(order: EpochSampler, epoch: int) -> list[np.ndarray]:
    order.set_epoch(epoch)
    return list(order)
