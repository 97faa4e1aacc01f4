"""Training with a simulated user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.zoo import build_network, list_architectures
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.prompted import PromptedSegmentationTask, SimulatedUser

SIDE = 64
OPTIONS = list_architectures()["prompted_unet"].spec.small


def make_recipe(**values: Any) -> TrainRecipe:
    model = {"architecture": "prompted_unet", "options": OPTIONS, "start": "none", "input_size": SIDE}
    return TrainRecipe.parse({"data": {"datasets": ["x"]}, "model": model, **values}, "the test")


def make_task(recipe: TrainRecipe) -> PromptedSegmentationTask:
    torch.manual_seed(0)
    assert recipe.prompts is not None
    config = BundleConfig(name="x", title="x", architecture="prompted_unet")
    return PromptedSegmentationTask(build_network("prompted_unet", OPTIONS), recipe, config, recipe.prompts)


def make_batch(count: int = 6, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Skin with two dark disks, of which one is the target: only a prompt tells which."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    images = np.full((count, 3, SIDE, SIDE), 200, np.float32)
    masks = np.zeros((count, 1, SIDE, SIDE), np.uint8)
    for index in range(count):
        disks = [(rows - random.integers(15, 49)) ** 2 + (columns - at) ** 2 <= 11**2 for at in (16, 47)]
        for disk in disks:
            images[index][:, disk] = 60
        masks[index, 0][disks[random.integers(2)]] = 255
    keys = np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1)
    return torch.from_numpy(images), torch.from_numpy(masks), keys


def test_only_recipes_of_this_architecture_have_prompts() -> None:
    assert make_recipe().prompts is not None
    with pytest.raises(ConfigError, match="'prompts' and an architecture that answers prompts require each other"):
        TrainRecipe.parse({"data": {"datasets": ["x"]}, "prompts": {}}, "the test")


def test_the_loss_of_a_batch_is_repeated_exactly() -> None:
    task = make_task(make_recipe(prompts={"composites": 0.5}))
    task.eval()  # statistics of batches would change in between
    first, second = (float(task.batch_loss(make_batch()).detach()) for _ in range(2))
    assert first == second
    assert np.isfinite(first)


def preference_of_target(task: PromptedSegmentationTask, *, is_clicked: bool) -> list[float]:
    """By how much the mean logit of the target exceeds that of the other disk, for each of 16 images."""
    network: Any = task.network
    images, masks, _ = make_batch(16, seed=1000)
    truth = masks[:, 0] > 127
    other = (images[:, 0] < 100) & ~truth
    users = [SimulatedUser(mask) for mask in truth.numpy()]
    if is_clicked:
        for user in users:
            user.correct(np.zeros((SIDE, SIDE), np.float32))
    task.eval()
    with torch.inference_mode():
        maps = torch.from_numpy(np.stack([user.maps for user in users]))
        logits = network.network.decode(network.network.encode(task.normalize(images)), maps).best()[:, 0]
    task.train()
    return [
        float(map_[inside].mean() - map_[out].mean()) for map_, inside, out in zip(logits, truth, other, strict=True)
    ]


@pytest.mark.slow
def test_a_click_makes_the_clicked_disk_preferred() -> None:
    """Two disks look the same: without a click neither is preferred, with one that which was clicked."""
    task = make_task(make_recipe(prompts={"composites": 0.0, "clicks": 1}))
    untrained = preference_of_target(task, is_clicked=True)
    optimizer = torch.optim.Adam(task.parameters(), 6e-3)
    for epoch in range(24):
        images, masks, keys = make_batch(8, seed=epoch)  # others each time, so that they cannot be learned by heart
        keys[:, 0] = epoch
        optimizer.zero_grad()
        task.batch_loss((images, masks, keys)).backward()
        optimizer.step()
    assert task.training
    without, clicked = (preference_of_target(task, is_clicked=each) for each in (False, True))
    assert min(clicked) > 0
    assert np.mean(clicked) > 0.1 + abs(np.mean(untrained))
    assert np.mean(clicked) > 3 * abs(np.mean(without))


def test_a_composed_image_shows_four_lesions_and_one_target() -> None:
    task = make_task(make_recipe(prompts={"composites": 1.0}))
    images, masks, keys = make_batch()
    composed, targets = task._compose(images, masks, keys)
    assert composed.shape == images.shape
    shares = (targets > 0).float().mean((1, 2, 3)) / (masks > 0).float().mean((1, 2, 3))
    assert torch.allclose(shares, torch.full_like(shares, 0.25), atol=0.03)
    assert torch.equal(task._compose(images, masks, keys)[0], composed), "the same for the same keys"


@pytest.mark.parametrize(("count", "composed"), [(4, True), (3, False)])
def test_only_a_composed_image_requires_a_prompt(count: int, composed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mosaic needs four images; without one, a prompt is drawn as for any other image."""
    required: list[bool] = []
    monkeypatch.setattr(SimulatedUser, "begin", lambda user, *, prompted: required.append(prompted))
    task = make_task(make_recipe(prompts={"composites": 1.0, "clicks": 1}))
    images, masks, keys = make_batch(count)
    assert torch.equal(task._compose(images, masks, keys)[0], images) != composed
    task.batch_loss((images, masks, keys))
    assert required == [composed] * count


def test_a_deterministic_user_clicks_until_the_mask_is_correct() -> None:
    truth = np.zeros((SIDE, SIDE), bool)
    truth[20:40, 10:50] = True
    user = SimulatedUser(truth)
    user.correct(np.zeros((SIDE, SIDE), np.float32))
    assert user.maps[0].any()
    assert not user.maps[1].any()
    before = user.maps.copy()
    user.correct(truth.astype(np.float32))
    assert np.array_equal(user.maps[:3], before[:3]), "nothing to correct"
