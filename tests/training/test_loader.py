"""Batches of uint8 images with their keys: read from the store, and the same in every process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.data_preparation import PreparedData, prepare_data
from napari_melanoma.training.loader import Rank, TrainingBatches, training_loader, unlabeled_batches, validation_loader
from napari_melanoma.training.random_numbers import PartnerSampler
from napari_melanoma.training.recipe import TrainRecipe

MIXED = AugmentationConfig(mosaic_probability=0.5, cutmix_probability=0.5)
pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def prepared(recipe: TrainRecipe, tmp_path: Path) -> PreparedData:
    return prepare_data(recipe, RunFolder(tmp_path / "run"), resume=False, run=RunContext())


def test_batches_repeat_with_the_epoch(recipe: TrainRecipe, prepared: PreparedData) -> None:
    import torch

    first, second = (training_loader(prepared, recipe, 4) for _ in range(2))
    next(iter(first))  # random numbers of torch in between have no effect
    assert len(first) == len(prepared.train) // 4
    for (images, masks, keys), (others, other_masks, other_keys) in zip(first, second, strict=True):
        assert images.dtype == masks.dtype == torch.uint8
        assert images.shape == (4, 3, 48, 48)
        assert masks.shape == (4, 1, 48, 48)
        assert isinstance(keys, np.ndarray)  # a tensor would be moved to the GPU, which synchronizes
        assert torch.equal(images, others)
        assert torch.equal(masks, other_masks)
        assert np.array_equal(keys, other_keys)


def test_the_key_is_the_image(recipe: TrainRecipe, prepared: PreparedData) -> None:
    for images, masks, keys in training_loader(prepared, recipe, 4):
        expected, expected_masks = prepared.train.read(keys[:, 1])
        assert np.array_equal(images.numpy(), expected)
        assert np.array_equal(masks.numpy(), expected_masks)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [Rank(), Rank(0, 2), Rank(1, 2), Rank(0, 1, accumulate_batches=2)])
def test_partners_follow_the_images_that_take_from_them(
    recipe: TrainRecipe, prepared: PreparedData, rank: Rank
) -> None:
    recipe = recipe.model_copy(update={"augmentation": MIXED})
    partners = PartnerSampler(MIXED, recipe.seed, len(prepared.train))
    for images, masks, keys in training_loader(prepared, recipe, 4, rank):
        places = np.concatenate([keys[:, 1] % len(prepared.train), partners.sample(keys)])
        expected, expected_masks = prepared.train.read(places)
        assert np.array_equal(images.numpy(), expected)
        assert np.array_equal(masks.numpy(), expected_masks)


def test_ranks_share_the_steps_of_one_process(recipe: TrainRecipe, prepared: PreparedData) -> None:
    alone = [set(keys[:, 1].tolist()) for *_, keys in training_loader(prepared, recipe, 4)]
    shared = [
        [set(keys[:, 1].tolist()) for *_, keys in training_loader(prepared, recipe, 4, Rank(rank, 2))]
        for rank in (0, 1)
    ]
    assert [first | second for first, second in zip(*shared, strict=True)] == alone


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_validation_images_are_read_once_over_all_ranks_in_equally_many_batches(
    processes: int, recipe: TrainRecipe, prepared: PreparedData
) -> None:
    import torch

    loaders = [validation_loader(prepared, recipe, 2, Rank(rank, processes)) for rank in range(processes)]
    assert len({len(loader) for loader in loaders}) == 1
    batches = [batch for loader in loaders for batch in loader]
    assert sorted(np.concatenate([keys[:, 1] for *_, keys in batches])) == list(range(len(prepared.validation)))
    for images, masks, keys in batches:
        assert images.dtype == torch.uint8
        assert len(images) == len(masks) == len(keys)
        assert not len(images) or images.shape[1:] == (3, 32, 32)
        assert set(masks.unique().tolist()) <= {0, 255}


def test_replay_data_fills_its_share_of_each_batch(
    recipe: TrainRecipe, draw: Callable[..., Path], tmp_path: Path
) -> None:
    replay = draw(tmp_path / "replay", count=12, seed=1)
    data = recipe.data.model_copy(update={"replay": (str(replay),), "replay_share": 0.25})
    recipe = recipe.model_copy(update={"data": data})
    prepared = prepare_data(recipe, RunFolder(tmp_path / "run"), resume=False, run=RunContext())
    assert prepared.replay is not None
    assert len(prepared.replay) == len(prepared.replay_samples) == 8  # those of its training split
    for images, _, keys in training_loader(prepared, recipe, 4):
        places = keys[:, 1] % (len(prepared.train) + len(prepared.replay))
        from_replay = places >= len(prepared.train)
        assert from_replay.sum() == 1
        expected = prepared.replay.read(places[from_replay] - len(prepared.train))[0]
        assert np.array_equal(images.numpy()[from_replay], expected)


def test_a_run_on_the_processor_does_not_use_a_gpu(
    recipe: TrainRecipe, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinned memory needs the GPU, which may be full, or the reason to train on the processor."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, pinned in (("cpu", False), ("auto", True)):
        of_device = recipe.model_copy(update={"device": device})
        loaders = [load(prepared, of_device, 4) for load in (training_loader, validation_loader)]
        assert [loader.pin_memory for loader in loaders] == [pinned, pinned]


def test_batches_travel_to_another_process_without_their_pixels(prepared: PreparedData) -> None:
    import torch

    batches = TrainingBatches(prepared.train)
    keys = np.array([(1, 3), (1, 0)])
    here, sent = batches[keys], pickle.dumps(batches)
    assert len(sent) < 20_000 < len(prepared.train) * 48 * 48 * 4
    there = pickle.loads(sent)[keys]
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])


@pytest.mark.slow
def test_workers_read_the_same_as_this_process(recipe: TrainRecipe, prepared: PreparedData) -> None:
    import torch

    recipe = recipe.model_copy(update={"augmentation": MIXED})
    ahead = training_loader(prepared, recipe.model_copy(update={"workers": 1}), 4)
    for (images, masks, keys), (others, other_masks, other_keys) in zip(
        ahead, training_loader(prepared, recipe, 4), strict=True
    ):
        assert len(images) > len(keys)  # partners follow the images
        assert torch.equal(images, others)
        assert torch.equal(masks, other_masks)
        assert np.array_equal(keys, other_keys)


def test_images_of_the_target_domain_have_the_same_weight(recipe: TrainRecipe, prepared: PreparedData) -> None:
    """Statistics are averaged over batches: a last batch of one image would weigh as much as a full one."""
    count = len(prepared.train)
    batches = unlabeled_batches(replace(prepared, unlabelled=prepared.train), recipe, count - 1)
    assert [len(batch) for batch in batches] == [count - count // 2, count // 2]
