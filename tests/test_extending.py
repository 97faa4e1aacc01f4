"""The examples of docs/extending.md: each file alone, put into its folder, is found and works."""

from __future__ import annotations

import re
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.data import sources
from napari_melanoma.io.results import write_rgb
from napari_melanoma.models import zoo
from napari_melanoma.training import losses
from napari_melanoma.training.recipe import TrainRecipe

PAGE = Path(__file__).resolve().parent.parent / "docs/extending.md"
FILES = re.compile(r"^`src/napari_melanoma/(\S+)/(\w+\.py)`:\n\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = {folder: (name, code) for folder, name, code in FILES.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Puts the example of a folder beside the folder's own files, for this test alone."""
    listings = []

    def add(package, folder, listing):
        name, code = EXAMPLES[folder]
        (tmp_path / name).write_text(code, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        invalidate_caches()
        listing.cache_clear()
        listings.append(listing)

    yield add
    monkeypatch.undo()
    for listing in listings:
        listing.cache_clear()


def test_a_network(added):
    import torch

    added(zoo, "models/zoo", zoo.architectures)
    network = zoo.build_network("fully_convolutional", {"channels": 8})
    assert network(torch.zeros(1, 3, 70, 50)).shape == (1, 1, 70, 50)
    model = {"architecture": "fully_convolutional", "options": {"channels": 8}, "start": "none"}
    assert (
        TrainRecipe.parse({"data": {"datasets": ["a"]}, "model": model}, "the test").model.architecture
        in model.values()
    )


def test_a_loss(added):
    import torch

    added(losses, "training/losses", losses.losses)
    recipe = TrainRecipe.parse({"data": {"datasets": ["a"]}, "loss": "log_cosh_dice"}, "the test")
    target = torch.ones(2, 1, 8, 8)
    right = losses.make_loss(recipe.loss)(20 * target, target)
    wrong = losses.make_loss(recipe.loss)(-20 * target, target)
    assert 0 <= right < 1e-6 < wrong


def test_a_data_set(added, tmp_path):
    added(sources, "data/sources", sources.sources)
    for path in ("melanoma/12.jpg", "naevus/12.jpg", "naevus/7.jpg"):
        write_rgb(tmp_path / "set" / path, np.full((8, 8, 3), 90, np.uint8))
    found = sources.sources()["med_node"].find(tmp_path / "set")
    assert {record.image_id: record.values["diagnosis"] for record in found} == {
        "melanoma_12": "melanoma",
        "naevus_12": "nevus",
        "naevus_7": "nevus",
    }


def test_the_page_has_an_example_of_each():
    assert set(EXAMPLES) == {"models/zoo", "training/losses", "data/sources"}
