"""A small slide of drawn tissue, models whose answers can be told beforehand, options that search for no tissue."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.io.results import write_mask
from napari_melanoma.models import DENSE_STEP
from napari_melanoma.slides.options import SlideOptions

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.models.torch_inference import Precision
    from napari_melanoma.slides.analysis import SlideOutcome
    from napari_melanoma.slides.tile_models import TileModel

SIDE, TILE = 512, 32
MPP = 0.5
DARK = (slice(128, 256), slice(192, 320))  # the lesion, whole tiles of it

LoadModel = Callable[..., "TileModel"]


def draw_slide(path: Path, side: int = SIDE, seed: int = 0, mpp: float | None = MPP) -> Path:
    """Write a tiled pyramid: pink tissue with a little noise, a dark lesion, a glass margin at the right."""
    path.write_bytes(encode_slide(side, seed, mpp))
    return path


@cache
def encode_slide(side: int, seed: int, mpp: float | None) -> bytes:
    """Return the file."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(np.array((215, 150, 190)) + rng.normal(0, 8, (side, side, 3)), 0, 255).astype(np.uint8)
    rgb[DARK] = np.clip(np.array((90, 40, 110)) + rng.normal(0, 8, rgb[DARK].shape), 0, 255).astype(np.uint8)
    rgb[:, -2 * TILE :] = 245
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    content = BytesIO()
    with tifffile.TiffWriter(content) as tiff:
        tiff.write(rgb, subifds=1, **how, **resolution)
        tiff.write(np.ascontiguousarray(rgb[::2, ::2]), subfiletype=1, **how)
    return content.getvalue()


@pytest.fixture
def slide_path(tmp_path: Path) -> Path:
    """The slide."""
    return draw_slide(tmp_path / "section.tif")


NM_PER_PIXEL = 500
SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection name="slide" sizeX="{canvas[1]}" sizeY="{canvas[0]}"><image name="scan">
<pixels sizeX="{size[1]}" sizeY="{size[0]}"><dimension sizeX="{size[1]}" sizeY="{size[0]}" r="0" ifd="0"/>
<dimension sizeX="{half[1]}" sizeY="{half[0]}" r="1" ifd="1"/></pixels>
<view sizeX="{view[1]}" sizeY="{view[0]}" offsetX="{corner[1]}" offsetY="{corner[0]}"/><scanSettings>
<objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image></collection></scn>"""


@pytest.fixture
def write_scn(tmp_path: Path) -> Callable[..., Path]:
    """Write a Leica slide with a scanned area, ``rgb``, on a larger canvas; ``corner``: row and column of the area."""

    def write(rgb: Any, canvas: tuple[int, int], corner: tuple[int, int]) -> Path:
        levels = [rgb, np.ascontiguousarray(rgb[::2, ::2])]
        sides = {"canvas": canvas, "view": rgb.shape, "corner": corner}
        in_nm = {name: [NM_PER_PIXEL * side for side in pair] for name, pair in sides.items()}
        description = SCN.format(size=rgb.shape, half=levels[1].shape, **in_nm)
        how: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib", "metadata": None}
        how |= {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        with tifffile.TiffWriter(tmp_path / "scan.scn", bigtiff=True) as tiff:
            tiff.write(levels[0], description=description, **how)
            tiff.write(levels[1], **how)
        return tmp_path / "scan.scn"

    return write


@pytest.fixture(scope="session")
def drawn_slide() -> Callable[..., Path]:
    """Draw another slide of this kind: path, side, seed, micrometers per pixel."""
    return draw_slide


@pytest.fixture(scope="session")
def mask_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue of the slide: all but the glass."""
    mask = np.ones((SIDE, SIDE), np.bool_)
    mask[:, -2 * TILE :] = False
    path = tmp_path_factory.mktemp("tissue") / "tissue-given.png"
    write_mask(path, mask)
    return path


@pytest.fixture(scope="session")
def options(mask_path: Path) -> SlideOptions:
    """Small batches, the tissue given, and no more precision than float32, whatever the processor has."""
    return SlideOptions(tissue_mask=mask_path, batch_size=8, precision="fp32", workers=2)


def darkness(dense: bool = False, classes: int = 2) -> nn.Module:
    """A network that returns how dark a tile or a cell of it is: 0 for pink tissue, 1 for the lesion."""
    import torch
    from torch import nn

    class Darkness(nn.Module):
        """Steep sigmoid of the green channel, through a convolution and a normalization that can be folded."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 1, 1, bias=False)
            self.norm = nn.BatchNorm2d(1)
            with torch.no_grad():
                self.convolution.weight[:] = torch.tensor([0.0, -20.0, 0.0]).view(1, 3, 1, 1)
                self.norm.bias[:] = 20 * (95 / 255 - 0.5) / 0.5

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Probability of the lesion, and of the rest, which the other classes share."""
            dark = torch.sigmoid(self.norm(self.convolution(images)).float())
            dark = nn.functional.avg_pool2d(dark, DENSE_STEP) if dense else dark.mean(dim=(2, 3))
            return torch.cat([(1 - dark) / (classes - 1)] * (classes - 1) + [dark], dim=1)

    return Darkness().eval()


@pytest.fixture(scope="session")
def tile_model() -> LoadModel:
    """Make a model of tiles whose answer is how dark they are."""
    from napari_melanoma.slides.tile_models import TileModel, TileModelInfo, TorchPasses

    def made(
        kind: str = "classification",
        batch_size: int = 8,
        network: nn.Module | None = None,
        precision: Precision | None = "fp32",
    ) -> TileModel:
        classes = {"classification": ("benign", "melanoma"), "dense": ("background", "tumour")}.get(kind, ())
        info = TileModelInfo(
            "darkness", kind, classes, TILE, MPP, fingerprint="dark", positive=classes[-1] if classes else ""
        )
        passes = TorchPasses(info, network or darkness(dense=kind == "dense"), "cpu", precision)
        return TileModel(info, passes, batch_size, precision)

    return made


@pytest.fixture
def analyze(
    slide_path: Path, options: SlideOptions, tile_model: LoadModel, tmp_path: Path
) -> Callable[..., SlideOutcome]:
    """Analyze the slide, or another, into ``out``, or another folder; further keywords change the options."""
    from napari_melanoma.slides.analysis import analyze_slide

    def run_analysis(
        slide: Path = slide_path,
        folder: str | Path = "out",
        with_model: TileModel | None = None,
        run: RunContext | None = None,
        force: bool = False,
        **changes: Any,
    ) -> SlideOutcome:
        changed = options.model_copy(update=changes)
        used = with_model or tile_model()
        return analyze_slide(slide, tmp_path / folder, changed, run or RunContext(), load=lambda: used, force=force)

    return run_analysis


@pytest.fixture(scope="session")
def finished(
    drawn_slide: Callable[..., Path],
    options: SlideOptions,
    tile_model: LoadModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> SlideOutcome:
    """The analysis of the slide, whose folder no test changes."""
    from napari_melanoma.slides.analysis import analyze_slide

    folder = tmp_path_factory.mktemp("finished")
    slide = drawn_slide(folder / "section.tif")
    return analyze_slide(slide, folder / "out", options, RunContext(), load=tile_model)


@pytest.fixture(scope="session")
def tile_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A classifier of tiles with random weights."""
    import torch

    from napari_melanoma.core.prediction_config import ClassifierConfig
    from napari_melanoma.models.bundle import BundleConfig, write_bundle
    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    options = {"encoder": "test_efficientnet"}
    config = BundleConfig(
        name="tiny-tile",
        title="Random",
        task="classification",
        architecture="image_tabular",
        options=options,
        input_size=64,
        classes=("benign", "melanoma"),
        modalities=("slide",),
        tile=TileConfig(mpp=0.25, side_px=64),
        classifier=ClassifierConfig(view={"region": "photograph"}),
    )
    network = build_network(config.architecture, options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tile", config, network, "# tiny\n")


def write_dense_bundle(path: Path, architecture: str, options: dict[str, Any]) -> BundleInfo:
    """Write a segmentation of tiles into four classes with random weights."""
    import torch

    from napari_melanoma.models.bundle import BundleConfig, write_bundle
    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    options = {**options, "classes": 4}
    config = BundleConfig(
        name="tiny-tissue",
        title="Random",
        architecture=architecture,
        options=options,
        input_size=64,
        classes=("background", "dermis", "epidermis", "tumour"),
        modalities=("slide",),
        tile=TileConfig(mpp=0.5, side_px=64),
    )
    network = build_network(config.architecture, options)
    return write_bundle(path, config, network, "# tiny\n")


@pytest.fixture(scope="session")
def dense_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A segmentation of tiles with an encoder of timm."""
    options = {"encoder": "test_efficientnet", "decoder_channels": 16}
    return write_dense_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tissue", "deeplabv3plus", options)


@pytest.fixture(scope="session")
def dense_bundle_without_timm(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A segmentation of tiles that a process loads without timm, which takes seconds to import."""
    options = {"channels": 4, "depth": 1}
    return write_dense_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tissue", "unet_p4", options)
