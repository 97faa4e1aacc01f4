"""Sources of the features of cells: color and texture, ImageNet, and published encoders with their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import BundleError, ConfigError, MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.imaging.stain import DEFAULT_STAINS
from napari_melanoma.models.inference import find_device, load_inference, normalize_images
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import (
    FOUNDATION_ENCODERS,
    LICENCE_OF_FILE,
    TIMM,
    WEIGHTS_ADVICE,
    load_foundation,
    load_timm,
)
from napari_melanoma.models.weights_files import fingerprint_weights
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, block_px, margin_px

if TYPE_CHECKING:
    from torch import Tensor


SCALES = 3  # of 1, 2 and 4 pixels
STAINS = 3  # hematoxylin, eosin, and what neither explains
COLORS = 6  # mean and standard deviation of red, green and blue
MEASURES = 8  # of each stain and scale, see ``_measure``
LENGTH = COLORS + SCALES * STAINS * MEASURES
ENTROPY_LEVELS, MAX_DENSITY = 8, 2.0  # of the histogram of a cell
_RESIDUAL = np.cross(*DEFAULT_STAINS)
_MATRIX = np.linalg.inv(
    np.array([np.array(stain) / np.linalg.norm(stain) for stain in (*DEFAULT_STAINS, _RESIDUAL)])
).astype(np.float32)
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # optical density of a value
_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def measure_texture(rgb: NDArray[np.uint8], cell_px: int, scales: int = SCALES) -> NDArray[np.float32]:
    """Measure color and texture of each cell.

    ``rgb``: uint8 (row, column, channel=3), H&E. ``cell_px``: side of a cell in pixels; divides both sides, and is a
    multiple of 4. ``scales``: 1 to ``SCALES``. Returns float32 (cell row, cell column, feature), ``LENGTH`` features
    of all scales: mean and standard deviation of the colors, and for each scale and stain those of ``_measure``.
    """
    colors = np.moveaxis(rgb, -1, 0).astype(np.float32) / np.float32(255)
    features = [*_mean(colors, cell_px), *_deviation(colors, cell_px)]
    density = _DENSITY[rgb]
    stains = np.moveaxis(density @ _MATRIX, -1, 0)
    for scale in range(scales):
        stains = _smooth(stains)
        features += [values for stain in stains for values in _measure(stain, cell_px >> scale)]
        stains = stains[:, ::2, ::2]
    return np.stack(features, axis=-1)


def _measure(stain: NDArray[np.float32], cell_px: int) -> list[NDArray[np.float32]]:
    """Measure the amount of a stain, float32 (row, column), in each cell.

    Mean and standard deviation of the amount; mean and standard deviation of the gradient; mean absolute Laplacian and
    its standard deviation; coherence of the structure tensor, 0 to 1; entropy of the histogram in bits.
    """
    padded = np.pad(stain, 1, mode="edge")
    half = np.float32(0.5)
    down, right = half * (padded[2:, 1:-1] - padded[:-2, 1:-1]), half * (padded[1:-1, 2:] - padded[1:-1, :-2])
    around = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    laplacian, gradient = around - 4 * stain, np.hypot(down, right)
    yy, xx, yx = (_mean(product, cell_px) for product in (down * down, right * right, down * right))
    coherence = np.hypot(yy - xx, 2 * yx) / (yy + xx + 1e-6)
    return [
        _mean(stain, cell_px),
        _deviation(stain, cell_px),
        _mean(gradient, cell_px),
        _deviation(gradient, cell_px),
        _mean(np.abs(laplacian), cell_px),
        _deviation(laplacian, cell_px),
        coherence,
        _entropy(stain, cell_px),
    ]


def _mean(values: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Average over cells, (..., row, column) to (..., cell row, cell column)."""
    rows, columns = values.shape[-2] // cell_px, values.shape[-1] // cell_px
    # Rows first, which is ten times faster than both at once
    strips = values.reshape(*values.shape[:-2], rows, cell_px, columns * cell_px).sum(axis=-2)
    sums: NDArray[np.float32] = strips.reshape(*strips.shape[:-1], columns, cell_px).sum(axis=-1)
    return sums / np.float32(cell_px**2)


def _deviation(values: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Return the standard deviation in each cell, of the shape of ``_mean``."""
    shifted = values - values.mean(axis=(-2, -1), keepdims=True)  # squares of small values are exact enough
    variance = _mean(np.square(shifted), cell_px) - np.square(_mean(shifted, cell_px))
    return np.sqrt(np.maximum(variance, 0))


def _entropy(stain: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Return the entropy of the histogram of each cell in bits, float32 (cell row, cell column)."""
    levels = np.clip(stain * (ENTROPY_LEVELS / MAX_DENSITY), 0, ENTROPY_LEVELS - 1).astype(np.intp)
    rows, columns = (side // cell_px for side in stain.shape)
    cells = (np.arange(stain.shape[0]) // cell_px * columns)[:, None] + np.arange(stain.shape[1]) // cell_px
    levels += ENTROPY_LEVELS * cells
    counts = np.bincount(levels.ravel(), minlength=rows * columns * ENTROPY_LEVELS).reshape(rows, columns, -1)
    shares = (counts / cell_px**2).astype(np.float32)
    entropy: NDArray[np.float32] = -(shares * np.log2(np.maximum(shares, np.float32(1e-9)))).sum(axis=-1)
    return entropy


def _smooth(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth planes (plane, row, column) with a binomial kernel of five pixels."""
    from scipy.ndimage import correlate1d

    rows = correlate1d(planes, _KERNEL, axis=1, mode="nearest")
    smoothed: NDArray[np.float32] = correlate1d(rows, _KERNEL, axis=2, mode="nearest")
    return smoothed


CELL_PX = 56  # in the input: 0.57 um per pixel, and 4 x 4 patches of 14 pixels in a cell
WINDOW_PX = 224  # side of the input of networks of timm
WINDOWS_PER_PASS = 4  # limits the memory


def is_published(name: str) -> bool:
    """Return whether a name is that of an encoder of timm, or of a published histology encoder."""
    return name.startswith(TIMM) or name in FOUNDATION_ENCODERS


def fingerprint_features(name: str, weights_hash: str) -> str:
    """Return the hash of everything that determines the features; ``weights_hash``: SHA-256 of the weights file."""
    side = FOUNDATION_ENCODERS[name].side_px if name in FOUNDATION_ENCODERS else WINDOW_PX
    text = f"{weights_hash} {name} windows of {side}, cells of {CELL_PX}, blocks of {BLOCK_CELLS}"
    return hashlib.sha256(text.encode()).hexdigest()


class PublishedFeatures:
    """Features of a published encoder; see ``FeatureSource``.

    ``name``: of a histology encoder, or ``timm:NAME``. ``weights``: the file with its weights. ``device``: where it
    runs; None to choose it.
    """

    mpp = CELL_UM / CELL_PX

    def __init__(self, name: str, weights: Path | None, device: str | None = None) -> None:
        if weights is None:
            raise BundleError(f"the weights of '{name}' are not included. {WEIGHTS_ADVICE}")
        self.name = name
        encoder = FOUNDATION_ENCODERS.get(name)
        if encoder is None:
            # The patches of a vision transformer are for another side of the input
            options = {"dynamic_img_size": True} if name.startswith(f"{TIMM}vit_") else {}
            network: Any = load_timm(name, weights, **options)
            side, self.licence = WINDOW_PX, LICENCE_OF_FILE
            mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
        else:
            network, side, self.licence = load_foundation(encoder, weights), encoder.side_px, encoder.licence
            mean, std = encoder.mean, encoder.std
        self.fingerprint = fingerprint_features(name, fingerprint_weights(weights))
        self._device = find_device(device)
        self._trunk: Any = getattr(network, "trunk", network).to(self._device)
        self._window = side // CELL_PX  # cells along its side
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        side = block_px(self.mpp)
        self.length = self.compute(np.full((1, side, side, 3), 255, np.uint8)).shape[-1]

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.stack([self._compute_block(block) for block in blocks])

    def _compute_block(self, block: NDArray[np.uint8]) -> NDArray[np.float16]:
        import torch

        windows = torch.from_numpy(self._cut_windows(block)).to(self._device)
        with torch.inference_mode():
            cells = torch.cat([self._encode(part) for part in windows.split(WINDOWS_PER_PASS)])
        side, count = self._window, BLOCK_CELLS // self._window
        joined = cells.view(count, count, -1, side, side).permute(0, 3, 1, 4, 2)
        features: NDArray[np.float16] = joined.reshape(BLOCK_CELLS, BLOCK_CELLS, -1).half().cpu().numpy()
        return features

    def _cut_windows(self, block: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalize a block without its margin and cut it into windows, float32 (window, channel, row, column)."""
        margin, side, count = MARGIN_CELLS * CELL_PX, self._window * CELL_PX, BLOCK_CELLS // self._window
        inner = (block[margin:-margin, margin:-margin].astype(np.float32) / 255 - self._mean) / self._std
        windows = inner.reshape(count, side, count, side, 3).transpose(0, 2, 4, 1, 3)
        return np.ascontiguousarray(windows.reshape(-1, 3, side, side))

    def _encode(self, windows: Tensor) -> Tensor:
        """Return patch tokens averaged over cells, and the token of the window: (window, feature, cell, cell)."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        tokens: Tensor = self._trunk.forward_features(windows)
        if tokens.ndim == 4:  # maps of a convolutional network, whose mean is the context
            patches, whole = tokens, tokens.mean(dim=(2, 3))
        else:
            prefix = int(self._trunk.num_prefix_tokens)
            side = round((tokens.shape[1] - prefix) ** 0.5)
            patches = tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, side, side)
            whole = tokens[:, 0] if prefix else tokens.mean(dim=1)
        cells = adaptive_avg_pool2d(patches, self._window)
        return torch.cat([cells, whole[:, :, None, None].expand(-1, -1, self._window, self._window)], dim=1)


IMAGENET, TEXTURE = "imagenet", "texture"
IMAGENET_BUNDLE = "imagenet-tiles"
SHIPPED_SOURCES = (IMAGENET, TEXTURE, f"{IMAGENET}+{TEXTURE}")  # need no file
JOIN = "+"
CONTEXTS = (1, 3, 7)  # sides of the squares of cells over which features are averaged
GEOMETRY = f"cells of {CELL_UM} um, blocks of {BLOCK_CELLS} + 2 x {MARGIN_CELLS}, contexts of {CONTEXTS}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class FeatureSource(Protocol):
    """Computes features of cells.

    ``name``: for ``open_feature_source``. ``fingerprint``: hash of everything that determines the features.
    ``length``: number of features of a cell. ``licence``: that of the weights. ``mpp``: micrometers per pixel of the
    blocks.
    """

    @property
    def name(self) -> str:
        """See the class."""

    @property
    def fingerprint(self) -> str:
        """See the class."""

    @property
    def length(self) -> int:
        """See the class."""

    @property
    def licence(self) -> str:
        """See the class."""

    @property
    def mpp(self) -> float:
        """See the class."""

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Compute the features of the cells of blocks.

        ``blocks``: uint8 (block, row, column, channel=3), of side ``block_px(mpp)``, with their margins. Returns
        float16 (block, cell row, cell column, feature) without the margins; a block's features do not depend on the
        others.
        """


def open_feature_source(name: str, weights: Path | None = None, device: str | None = None) -> FeatureSource:
    """Open a source of features by its name.

    ``name``: ``imagenet`` (the encoder that is shipped), ``texture`` (hand-made color and texture), a published encoder
    such as ``uni`` or ``timm:vit_small_patch14_dinov2``, or several names joined by ``+``. ``weights``: file with the
    weights of the published encoder. ``device``: where that runs; None to choose it.
    """
    parts = name.split(JOIN)
    if len(parts) > 1:
        return JoinedFeatures([open_feature_source(part, weights, device) for part in parts])
    if name == TEXTURE:
        return TextureFeatures()
    if name == IMAGENET:
        return ImagenetFeatures()

    if is_published(name):
        return PublishedFeatures(name, weights, device)
    raise ConfigError(
        f"there are no features named '{name}'. Expected {', '.join(SHIPPED_SOURCES)}, timm:NAME, or a published "
        f"encoder: {', '.join(FOUNDATION_ENCODERS)}."
    )


class ImagenetFeatures:
    """The features of the shipped encoder ``imagenet-tiles``.

    It runs in ONNX Runtime on the CPU, block by block, so that all programs compute the same bits.
    """

    name = IMAGENET

    def __init__(self) -> None:
        info = find_bundle(IMAGENET_BUNDLE)
        tile = info.config.tile
        assert tile is not None
        self.licence, self.mpp = info.config.licence, tile.mpp
        self.fingerprint = _hash(f"{info.fingerprint} {info.prediction_fingerprint()} {GEOMETRY}")
        self._config = info.config
        self._network = load_inference(info, "cpu")
        white = np.full((block_px(self.mpp), block_px(self.mpp), 3), 255, np.uint8)
        self.length = self._compute_block(white).shape[-1]  # the first pass, which also opens the graph

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.stack([self._compute_block(block) for block in blocks])

    def _compute_block(self, block: NDArray[np.uint8]) -> NDArray[np.float16]:
        (features,) = self._network.run("features", image=normalize_images(block[None], self._config))["features"]
        return add_context(np.moveaxis(features, 0, -1))


class TextureFeatures:
    """Hand-made color and texture, see ``texture``."""

    name, licence, mpp = TEXTURE, "BSD-3-Clause", 1.0
    fingerprint = _hash(f"texture 1, {GEOMETRY}")

    @property
    def length(self) -> int:
        """See ``FeatureSource``."""
        return LENGTH * len(CONTEXTS)

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        cell_px = margin_px(self.mpp) // MARGIN_CELLS
        return np.stack([add_context(measure_texture(block, cell_px)) for block in blocks])


class JoinedFeatures:
    """The features of several sources of the same scale, one after the other."""

    def __init__(self, sources: Sequence[FeatureSource]) -> None:
        self._sources = sources
        self.name = JOIN.join(source.name for source in sources)
        self.licence = ", ".join(dict.fromkeys(source.licence for source in sources))
        self.fingerprint = _hash(" ".join(source.fingerprint for source in sources))
        self.length = sum(source.length for source in sources)
        self.mpp = sources[0].mpp
        if any(source.mpp != self.mpp for source in sources):
            scales = ", ".join(f"{source.name}: {source.mpp:g}" for source in sources)
            raise ConfigError(f"features of different scales cannot be joined ({scales} um per pixel). Choose one.")

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.concatenate([source.compute(blocks) for source in self._sources], axis=-1)


def add_context(features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Append the means over the neighborhoods of each cell, and leave out the margin.

    ``features``: float32 (cell row, cell column, feature), of a block with its margin. Returns float16 (cell row, cell
    column, feature x contexts) of the block.
    """
    sums = np.pad(features.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    means = []
    for side in CONTEXTS:
        first = MARGIN_CELLS - side // 2
        low, high = slice(first, first + BLOCK_CELLS), slice(first + side, first + side + BLOCK_CELLS)
        total = sums[high, high] - sums[low, high] - sums[high, low] + sums[low, low]
        means.append(total / side**2)
    return np.concatenate(means, axis=-1).astype(np.float16)


ENCODERS_FILE = "encoders.json"


class EncoderFile(Config):
    """The file with the weights of a published encoder. ``name``: see ``open_feature_source``."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, description="name of the source of the features")
    weights: Path = Field(description="file with the weights")
    sha256: str = Field(description="hash of the file")
    bytes: int = Field(ge=0, description="size of the file")
    changed: int = Field(description="time of the last change of the file in nanoseconds since 1970")

    @property
    def is_unchanged(self) -> bool:
        """Whether the file exists, with the same size and time of change."""
        return self.weights.is_file() and _stamp(self.weights) == (self.bytes, self.changed)


def remember_encoder(name: str, weights: Path) -> None:
    """Remember the file of an encoder in the user's data folder."""
    weights = weights.absolute()
    known = read_encoders()
    if any((one.name, one.weights) == (name, weights) and one.is_unchanged for one in known):
        return
    size, changed = _stamp(weights)
    added = EncoderFile(name=name, weights=weights, sha256=fingerprint_weights(weights), bytes=size, changed=changed)
    path = _encoders_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [one for one in known if one.sha256 != added.sha256]
    write_json(path, {"encoders": [one.model_dump(mode="json") for one in (added, *kept)]})


def find_weights(source: str, fingerprint: str) -> Path | None:
    """Find the file of an encoder that was used before, by name and fingerprint of its features; None if unknown."""
    found = (
        one
        for one in read_encoders()
        if one.name == source and one.is_unchanged and fingerprint_features(source, one.sha256) == fingerprint
    )
    return next((one.weights for one in found), None)


def read_encoders() -> list[EncoderFile]:
    """Read the files of encoders that were used before, the latest first; empty if the list is missing or damaged."""
    path = _encoders_path()
    try:
        return [EncoderFile.parse(one, str(path)) for one in read_json(path)["encoders"]]
    except (OSError, ValueError, KeyError, TypeError, MelanomaError):
        return []


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _encoders_path() -> Path:
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / ENCODERS_FILE
