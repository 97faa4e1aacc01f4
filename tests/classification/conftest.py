"""A classifier that is trained in seconds to detect a violet patch and an old patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    FittedNumbers,
    FittedWords,
    TabularEncoding,
    ViewConfig,
)
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle

SIDE, PATCH = 96, 20
OPTIONS = {
    "encoder": "test_efficientnet",
    "output_stride": 16,
    "out_features": 16,
    "tabular_layers": (16,),
    "tabular_dropout": 0.0,
    "tabular": {"continuous": 1, "cardinalities": (3,), "widths": (2,)},
}
ENCODING = TabularEncoding(
    numbers=(FittedNumbers(name="age", mean=50.0, std=10.0, median=50.0),),
    words=(FittedWords(name="sex", words=("female", "male")),),
)


@dataclass(frozen=True)
class Picture:
    """An image, and the center of its violet patch (row, column), None without one."""

    rgb: np.ndarray
    patch: tuple[float, float] | None


def drawn(random: np.random.Generator, violet: bool, side: int = SIDE, size: int = PATCH) -> Picture:
    """Skin-colored noise with an uninformative green patch and, for the positive class, a violet one."""
    rgb = random.integers(150, 190, (side, side, 3)).astype(np.uint8)
    for colour in ((90, 150, 90), (60, 40, 160))[: 1 + violet]:
        row, column = random.integers(0, side - size, 2)
        rgb[row : row + size, column : column + size] = colour
    middle = (float(row) + (size - 1) / 2, float(column) + (size - 1) / 2)
    return Picture(rgb, middle if violet else None)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Picture]:
    """A function that draws an image."""
    return drawn


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle for whole photographs, with reference cases; violet or old is melanoma."""
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    network = build_network("image_tabular", OPTIONS)
    _learn(network, np.random.default_rng(0))
    config = BundleConfig(
        name="violet",
        title="Violet patches",
        task="classification",
        architecture="image_tabular",
        options=OPTIONS,
        input_size=SIDE,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(view=ViewConfig(region="photograph"), novelty_threshold=3.0),
        tabular=ENCODING,
        modalities=("dermoscopic",),
    )
    reference = _reference(network, np.random.default_rng(1))
    return write_bundle(tmp_path_factory.mktemp("bundles") / "violet", config, network.eval(), "# violet\n", reference)


def _batch(random: np.random.Generator, count: int):
    """Images, numbers, words and labels: melanoma if there is a violet patch or the patient is old."""
    import torch

    violet = random.integers(0, 2, count)
    age = random.choice([-2.0, 0.0, 0.0, 2.0], count)
    images = np.stack([drawn(random, bool(one)).rgb for one in violet])
    tensor = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    codes = torch.from_numpy(random.integers(0, 3, (count, 1)))
    labels = ((violet == 1) & (age > -1)) | (age > 1)
    return tensor, torch.from_numpy(age[:, None]).float(), codes, torch.from_numpy(labels.astype(np.int64))


def _learn(network, random: np.random.Generator) -> None:
    import torch

    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(80):
        images, numbers, codes, labels = _batch(random, 16)
        loss = torch.nn.functional.cross_entropy(network(images, numbers, codes), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _reference(network, random: np.random.Generator):
    """Logits and embeddings of other images."""
    import torch

    from napari_melanoma.models.bundle import ReferenceCases

    network.eval()
    images, numbers, codes, labels = _batch(random, 80)
    with torch.inference_mode():
        maps = network.encode(images)
        logits, embeddings = network.classify(maps, numbers, codes), network.embed(maps)
    ids = tuple(f"case-{place:02}" for place in range(len(labels)))
    truth = labels.numpy()
    return ReferenceCases(
        logits.numpy(), truth, np.arange(len(truth)), embeddings.numpy().astype(np.float16), truth, ids
    )
