"""A tiny network of image, depth and patient with random weights, patches of noise, and a slide of noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.comparators import ComparatorCases, fit_comparators, write_comparators
from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    DepthOutputConfig,
    DepthScale,
    NumberColumn,
    TabularConfig,
    ViewConfig,
    WordColumn,
)
from napari_melanoma.data.tabular_encoding import fit_encoding
from napari_melanoma.io.results import write_rgb
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases, write_bundle
from napari_melanoma.models.zoo import build_network

CHOICES = TabularConfig(
    numbers=(NumberColumn(name="age", missing="unknown"), NumberColumn(name="depth_mm", missing="unknown")),
    words=(WordColumn(name="sex", encoding="one_hot"),),
)
CASES = 60


def rows() -> tuple[list[dict[str, str]], np.ndarray]:
    """Patients, and who of them has a metastasis: those with thick melanomas, mostly."""
    draw = np.random.default_rng(0)
    depth = np.exp(draw.normal(0.5, 0.7, CASES))
    labels = depth + draw.normal(0, 0.7, CASES) > 1.7
    reported = [
        {"age": f"{age:.0f}", "sex": sex, "depth_mm": f"{mm:.2f}", "clark": str(2 + (mm > 1) + (mm > 2))}
        for age, sex, mm in zip(draw.normal(60, 12, CASES), ["female", "male"] * (CASES // 2), depth, strict=True)
    ]
    return reported, labels


def write_model(
    folder: Path,
    *,
    reference: bool = True,
    comparators: bool = True,
    positive: str = "metastasis",
    attention: str = "spatial",
    input_size: int = 64,
) -> Path:
    """Write a bundle that predicts metastasis, or something else."""
    import torch

    torch.manual_seed(0)
    reported, labels = rows()
    encoding = fit_encoding(reported, CHOICES, "metastasis")
    place = [one.field for one in encoding.continuous].index("depth_mm")
    number = encoding.numbers[1]
    options = {
        "encoder": "test_efficientnet",
        "attention": attention,
        "depth_channels": (4, 4, 8),
        "depth_grid": 4,
        "hidden": (16, 8),
        "depth_source": "measured",
        "depth_mean": 1.5,
        "depth_std": 1.0,
        "measured": {"place": place, "mean": number.mean, "std": number.std},
        "tabular": encoding.shape.model_dump(mode="json"),
    }
    network = build_network("biomarker", options).eval()
    with torch.inference_mode():
        width = network.embed(network.encode(torch.zeros(1, 3, 64, 64))).shape[1]
    draw = np.random.default_rng(1)
    config = BundleConfig(
        name="tiny-risk",
        title="A tiny risk",
        task="classification",
        architecture="biomarker",
        options=options,
        input_size=input_size,
        classes=("other", positive),
        classifier=ClassifierConfig(
            positive=positive,
            view=ViewConfig(region="photograph"),
            prevalence=0.5,
            depth=DepthOutputConfig(scale=DepthScale(mean=1.5), margin=0.5),
        ),
        tabular=encoding,
        modalities=("slide",),
    )
    remembered = ReferenceCases(
        logits=draw.normal(0, 0.3, (CASES, 2)).astype(np.float32),
        labels=labels.astype(np.int64),
        groups=np.arange(CASES),
        embeddings=draw.normal(0, 0.5, (CASES, width)).astype(np.float16),
        embedded_labels=labels.astype(np.int64),
    )
    write_bundle(folder, config, network, "", reference=remembered if reference else None)
    if comparators:
        odds = np.where(labels, 0.5, -0.5) + draw.normal(0, 1, CASES)
        write_comparators(folder, fit_comparators(ComparatorCases(reported, labels), (odds, labels)))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the bundle."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny-risk")


@pytest.fixture(scope="session", name="write_model")
def write_model_() -> Callable[..., Path]:
    """What writes such a bundle."""
    return write_model


@pytest.fixture(scope="session")
def info(model: Path) -> BundleInfo:
    """The bundle."""
    from napari_melanoma.models.bundle import read_bundle

    return read_bundle(model)


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patches of colored noise, p0.png to p2.png."""
    folder, draw = tmp_path_factory.mktemp("patches"), np.random.default_rng(2)
    for number in range(3):
        coarse = np.kron(draw.uniform(60, 255, (8, 8, 3)), np.ones((12, 12, 1)))
        write_rgb(folder / f"p{number}.png", coarse.astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid of noise, 1200 x 1500 pixels of 5 micrometers."""
    import tifffile

    path = tmp_path_factory.mktemp("slides") / "section.tif"
    pixels = np.random.default_rng(3).integers(60, 255, (1200, 1500, 3), np.uint8)
    shared = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
    shared |= {"resolution": (2000, 2000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, subifds=1, **shared)
        tiff.write(pixels[::2, ::2], subfiletype=1, **shared)
    return path
