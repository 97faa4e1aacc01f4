"""Looks of laboratories for phantom slides: stains, stamps of nuclei, and textures of tissue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.phantoms import random_stream

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Vector = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class PhantomStain:
    """Optical densities (red, green, blue) of a unit of each dye, and the color of bare glass.

    ``hematoxylin``, ``eosin``, ``melanin`` and ``blood`` are natural logarithms, of length about 1. ``nuclei`` and
    ``cytoplasm`` are the strengths of hematoxylin and of eosin.
    """

    hematoxylin: Vector
    eosin: Vector
    melanin: Vector
    blood: Vector
    glass: tuple[int, int, int]
    nuclei: float = 1.0
    cytoplasm: float = 1.0


@dataclass(frozen=True)
class NucleusStyle:
    """Rendering of nuclei.

    ``grain`` is the size of chromatin clumps in micrometers, ``contrast`` their variation, ``rim`` the darkening of
    the membrane, ``softness`` the width of the edge in micrometers, ``lobes`` the harmonics that bend the outline,
    ``nucleolus`` the darkness of nucleoli, ``scale`` the factor of all sizes.
    """

    grain: float
    contrast: float
    rim: float
    softness: float
    lobes: tuple[int, ...]
    nucleolus: float
    scale: float = 1.0


@dataclass(frozen=True)
class TextureStyle:
    """Rendering of fibers and cytoplasm.

    ``bundle`` and ``length`` are the width and length of collagen bundles, ``wave`` the amplitude of their waves and
    ``weave`` the thickness of the layers of keratin, all in micrometers; ``cleft`` is the share of white gaps between
    bundles, ``grain`` the roughness of cytoplasm.
    """

    bundle: float
    length: float
    wave: float
    cleft: float
    grain: float
    weave: float


@dataclass(frozen=True)
class SlideLook:
    """The appearance of one laboratory's slides; ``family`` determines whether it may be used for training."""

    name: str
    family: Literal["train", "test"]
    stain: PhantomStain
    nuclei: NucleusStyle
    texture: TextureStyle


def _make_look(
    name: str, family: Literal["train", "test"], stain: PhantomStain, nuclei: NucleusStyle, texture: TextureStyle
) -> SlideLook:
    """Return a look, with its stain vectors scaled to length 1."""
    stain = replace(
        stain,
        hematoxylin=_unit(stain.hematoxylin),
        eosin=_unit(stain.eosin),
        melanin=_unit(stain.melanin),
        blood=_unit(stain.blood),
    )
    return SlideLook(name, family, stain, nuclei, texture)


def _unit(vector: Vector) -> Vector:
    """Scale to length 1."""
    length = float(np.linalg.norm(vector))
    red, green, blue = vector
    return red / length, green / length, blue / length


LOOKS = (
    _make_look(
        "harbour",
        "train",
        PhantomStain((0.62, 0.70, 0.34), (0.10, 0.94, 0.38), (0.42, 0.58, 0.72), (0.14, 0.82, 0.62), (243, 242, 244)),
        NucleusStyle(1.3, 0.35, 0.35, 0.7, (2, 3), 0.5),
        TextureStyle(9, 90, 12, 0.16, 0.30, 5),
    ),
    _make_look(
        "meadow",
        "train",
        PhantomStain(
            (0.54, 0.74, 0.42), (0.20, 0.84, 0.52), (0.46, 0.60, 0.66), (0.22, 0.78, 0.66), (239, 238, 236), 0.92
        ),
        NucleusStyle(1.9, 0.45, 0.2, 0.9, (2, 4), 0.35, 1.05),
        TextureStyle(13, 120, 18, 0.10, 0.22, 6.5),
    ),
    _make_look(
        "slate",
        "train",
        PhantomStain(
            (0.70, 0.64, 0.30), (0.06, 0.97, 0.26), (0.40, 0.55, 0.75), (0.10, 0.86, 0.52), (246, 246, 247), 1.1, 0.9
        ),
        NucleusStyle(0.9, 0.30, 0.5, 0.5, (3, 5), 0.6, 0.95),
        TextureStyle(7, 70, 8, 0.22, 0.38, 4),
    ),
    _make_look(
        "orchard",
        "train",
        PhantomStain(
            (0.58, 0.66, 0.48), (0.14, 0.88, 0.46), (0.48, 0.60, 0.64), (0.16, 0.74, 0.72), (241, 240, 243), 1.0, 1.12
        ),
        NucleusStyle(1.6, 0.55, 0.28, 0.8, (2, 5), 0.45, 1.0),
        TextureStyle(11, 60, 20, 0.13, 0.26, 7.5),
    ),
    _make_look(
        "dune",
        "test",
        PhantomStain(
            (0.50, 0.70, 0.52), (0.26, 0.78, 0.58), (0.50, 0.59, 0.62), (0.24, 0.70, 0.70), (238, 236, 232), 0.96
        ),
        NucleusStyle(1.1, 0.50, 0.42, 1.0, (3, 4), 0.55, 1.08),
        TextureStyle(10, 150, 10, 0.19, 0.34, 5.8),
    ),
    _make_look(
        "glacier",
        "test",
        PhantomStain(
            (0.67, 0.69, 0.24), (0.04, 0.90, 0.44), (0.38, 0.57, 0.73), (0.08, 0.80, 0.60), (247, 247, 248), 1.05, 0.95
        ),
        NucleusStyle(2.2, 0.40, 0.25, 0.6, (2, 6), 0.7, 0.97),
        TextureStyle(15, 80, 15, 0.08, 0.18, 4.6),
    ),
    _make_look(
        "heath",
        "test",
        PhantomStain(
            (0.66, 0.58, 0.42), (0.17, 0.96, 0.32), (0.44, 0.56, 0.70), (0.19, 0.84, 0.55), (242, 243, 241), 1.06, 1.05
        ),
        NucleusStyle(1.45, 0.62, 0.15, 0.75, (4, 5), 0.4, 1.03),
        TextureStyle(8, 110, 24, 0.12, 0.42, 7),
    ),
)


def look_names() -> tuple[str, ...]:
    """Return the names of all looks, those for training first."""
    return tuple(look.name for look in LOOKS)


def get_look(name: str) -> SlideLook:
    return next(look for look in LOOKS if look.name == name)


def family_looks(family: Literal["train", "test"]) -> tuple[SlideLook, ...]:
    return tuple(look for look in LOOKS if look.family == family)


# Nuclei: stamps of each type are drawn once, and copied to the positions of nuclei.

VARIANTS, TURNS = 14, 12  # stamps of a type: shapes, and rotations of each
REACH_UM = 13.0  # half of the side of a stamp


@dataclass(frozen=True)
class NucleusType:
    """Appearance of one kind of nucleus: half axes in micrometers, and amounts relative to a usual nucleus.

    ``spread`` is the variation of size and shape, ``dark`` the amount of hematoxylin, ``clumps`` the unevenness of the
    chromatin, ``nucleoli`` their largest number, ``halo`` the width of the clear space around the nucleus in
    micrometers, ``bend`` the irregularity of the outline.
    """

    length: float
    width: float
    spread: float = 0.1
    dark: float = 1.0
    clumps: float = 1.0
    nucleoli: int = 0
    halo: float = 0.0
    bend: float = 0.05


NUCLEUS_TYPES = {
    "basal": NucleusType(4.3, 2.7, 0.1, 1.15, 0.8),
    "spinous": NucleusType(4.1, 3.2, 0.1, 0.72, 1.0, 1, 0.5),
    "flat": NucleusType(5.0, 1.7, 0.15, 0.9),
    "lymphocyte": NucleusType(3.1, 2.8, 0.08, 1.5, 1.3),
    "plasma": NucleusType(3.3, 2.9, 0.1, 1.35, 1.8, 0, 0.8),
    "fibroblast": NucleusType(7.0, 1.0, 0.3, 1.05, 0.6, 0, 0.0, 0.12),
    "stromal": NucleusType(5.6, 2.5, 0.2, 0.95, 0.8, 1, 0.0, 0.08),
    "endothelium": NucleusType(5.2, 1.5, 0.15, 1.05, 0.6),
    "gland": NucleusType(3.0, 2.7, 0.08, 0.95, 0.8, 1),
    "sebocyte": NucleusType(2.6, 2.2, 0.2, 0.8, 0.6, 1, 0.4, 0.15),
    "naevus": NucleusType(3.5, 3.0, 0.07, 0.85, 0.7, 0, 0.4, 0.03),
    "naevus_deep": NucleusType(2.9, 2.3, 0.1, 1.0, 0.6, 0, 0.2, 0.03),
    "melanoma": NucleusType(4.7, 3.9, 0.18, 0.98, 1.2, 2, 0.4, 0.08),
    "melanoma_large": NucleusType(6.3, 5.0, 0.18, 0.82, 1.5, 3, 0.5, 0.11),
    "melanoma_dark": NucleusType(4.7, 3.5, 0.28, 1.55, 1.0, 0, 0.6, 0.15),
    "mitosis": NucleusType(5.4, 1.5, 0.25, 2.2, 0.2, 0, 3.6, 0.3),
    "apoptotic": NucleusType(2.0, 1.8, 0.2, 2.0, 0.2, 0, 2.2, 0.1),
    "ghost": NucleusType(4.4, 3.6, 0.2, 0.16, 0.5, 0, 0.3, 0.1),
}
NUCLEUS_TYPE_INDEX = {name: number for number, name in enumerate(NUCLEUS_TYPES)}


@dataclass(frozen=True)
class StampBank:
    """Stamps of all types of nuclei.

    ``stamps``: float32 (type, variant, turn, 2, side, side), the amount of hematoxylin and the cleared space;
    ``reach``: pixels from the center of a stamp to its edge.
    """

    stamps: Floats
    reach: int

    def draw_nuclei(self, canvas: Floats, x: Ints, y: Ints, stamp_index: Ints) -> None:
        """Draw nuclei on a canvas; where they overlap, the larger value counts.

        ``canvas``: float32 (2, row, column), changed in place. ``x``, ``y``: column and row of the centers.
        ``stamp_index``: from ``choose_stamps``.
        """
        flat = self.stamps.reshape(-1, *self.stamps.shape[3:])
        side = 2 * self.reach + 1
        top, left = y - self.reach, x - self.reach
        for row, column, index in zip(top.tolist(), left.tolist(), stamp_index.tolist(), strict=True):
            view = canvas[:, row : row + side, column : column + side]
            np.maximum(view, flat[index], out=view)


def choose_stamps(species: NDArray[np.integer[Any]], angle: Floats, lot: Floats) -> NDArray[np.int64]:
    """Choose a stamp for each nucleus.

    ``species``: index of the type, see ``NUCLEUS_TYPE_INDEX``. ``angle``: direction of the long axis in radians.
    ``lot``: random number from 0 to below 1 that selects the variant. Returns the indices of the stamps for
    ``StampBank.draw_nuclei``, int64 (nucleus,).
    """
    turn = np.round(np.asarray(angle, float) * (TURNS / np.pi)).astype(np.int64) % TURNS
    variant = np.minimum((lot * VARIANTS).astype(np.int64), VARIANTS - 1)
    return (species.astype(np.int64) * VARIANTS + variant) * TURNS + turn


@lru_cache(maxsize=8)
def make_stamp_bank(look_name: str, mpp: float) -> StampBank:
    """Draw all stamps of a look; ``mpp``: micrometers per pixel."""
    look = get_look(look_name)
    reach = int(np.ceil(REACH_UM / mpp))
    stamps = np.stack([_draw_stamps(look, name, species, mpp, reach) for name, species in NUCLEUS_TYPES.items()])
    stamps.flags.writeable = False
    return StampBank(stamps, reach)


def _draw_stamps(look: SlideLook, name: str, species: NucleusType, mpp: float, reach: int) -> Floats:
    """Draw all variants and turns of a type, float32 (variant, turn, 2, side, side)."""
    rng = random_stream(0, look.name, name)
    axis = np.arange(-reach, reach + 1, dtype=np.float32) * mpp
    turn = (np.arange(TURNS) * np.pi / TURNS).astype(np.float32)[:, None, None]
    x = axis[None, None, :] * np.cos(turn) + axis[None, :, None] * np.sin(turn)
    y = axis[None, :, None] * np.cos(turn) - axis[None, None, :] * np.sin(turn)
    return np.stack([_draw_nucleus(rng, look.nuclei, species, x, y) for _ in range(VARIANTS)]).astype(np.float32)


def _draw_nucleus(rng: np.random.Generator, style: NucleusStyle, species: NucleusType, x: Floats, y: Floats) -> Floats:
    """Draw one nucleus in all rotations, (turn, 2, side, side); ``x``, ``y``: positions of pixels in micrometers."""
    size = style.scale * np.exp(species.spread * rng.standard_normal())
    ratio = np.exp(0.6 * species.spread * rng.standard_normal())
    half = min(species.length * size * ratio, REACH_UM - 3), min(species.width * size / ratio, REACH_UM - 3)
    theta = np.arctan2(y / half[1], x / half[0])
    outline = np.ones_like(x)
    for lobe in style.lobes:
        outline += species.bend * (2 / lobe) * rng.standard_normal() * np.cos(lobe * theta + rng.uniform(0, 2 * np.pi))
    radius = np.hypot(x / half[0], y / half[1]) / np.clip(outline, 0.5, 1.6)
    distance = (1 - radius) * min(half)
    share = np.clip(0.5 + distance / style.softness, 0, 1)
    rim = np.exp(-(((distance - 0.45) / 0.5) ** 2))
    chromatin = 1 + 0.6 * style.contrast * species.clumps * _chromatin_clumps(rng, x, y, style.grain)
    dark = species.dark * np.exp(0.12 * rng.standard_normal())
    amount = dark * (np.clip(chromatin, 0.35, 1.9) + style.rim * rim / species.dark)
    for _ in range(rng.integers(0, species.nucleoli + 1)):
        amount += style.nucleolus * 1.6 * _draw_nucleolus(rng, half, x, y, 0.55 + 0.12 * min(half))
    halo = 0.55 * np.clip(0.5 + (distance + species.halo) / 1.6, 0, 1) if species.halo else share
    return np.stack([share * amount, np.maximum(halo, share)], axis=1)


@lru_cache(maxsize=1)
def _speckle() -> Floats:
    """Generate periodic noise with patches of about 8 pixels, float32 (512, 512), standard deviation 1."""
    noise = np.fft.rfft2(random_stream(0, "chromatin").standard_normal((512, 512)))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    field = np.fft.irfft2(noise * frequency**0.7 * np.exp(-((8 * frequency) ** 2) * 2), (512, 512))
    return (field / field.std()).astype(np.float32)


def _chromatin_clumps(rng: np.random.Generator, x: Floats, y: Floats, grain: float) -> Floats:
    """Return the unevenness of chromatin at positions in micrometers, with standard deviation 1."""
    row, column = (((axis + rng.uniform(50, 500)) * (5 / grain)).astype(np.int64) % 512 for axis in (y, x))
    return _speckle()[row, column]


def _draw_nucleolus(rng: np.random.Generator, half: tuple[float, float], x: Floats, y: Floats, radius: float) -> Floats:
    """Draw a nucleolus at a random position inside; ``half``: half axes of the nucleus in micrometers."""
    angle, distance = rng.uniform(0, 2 * np.pi), 0.5 * np.sqrt(rng.random())
    center_x, center_y = distance * half[0] * np.cos(angle), distance * half[1] * np.sin(angle)
    return np.exp(-(((x - center_x) ** 2 + (y - center_y) ** 2) / radius**2))


# Textures

SIDE = 1024  # pixels of a texture
FINE_UM, CLOUD_UM = 0.6, 5.0  # micrometers per pixel of fine and of slowly varying textures


@dataclass(frozen=True)
class TextureSet:
    """Periodic textures, each float32 (SIDE, SIDE) with values that are evenly distributed from 0 to 1.

    ``bundles`` and ``strands`` are thick and fine fibers along the rows, ``weave`` the layers of keratin. ``grain``
    is fine and without direction, ``clouds`` varies slowly and has details, ``patches`` varies slowly and is smooth.
    """

    bundles: Floats
    strands: Floats
    weave: Floats
    grain: Floats
    clouds: Floats
    patches: Floats


def sample_texture(texture: Floats, x: Floats, y: Floats, pixel_um: float) -> Floats:
    """Sample a texture at the nearest pixel.

    ``texture``: float32 (SIDE, SIDE), repeated without end. ``x``, ``y``: positions, in micrometers along its columns
    and rows, of any shape. ``pixel_um``: size of its pixels. Returns float32 of that shape.
    """
    scale = np.float32(1 / pixel_um)
    column = np.floor(x * scale).astype(np.int32) & np.int32(SIDE - 1)
    row = np.floor(y * scale).astype(np.int32) & np.int32(SIDE - 1)
    return texture.ravel().take((row << np.int32(10)) | column, mode="clip")  # half the time of texture[row, column]


def interpolate_texture(texture: Floats, x: Floats, y: Floats, pixel_um: float) -> Floats:
    """Sample a texture with bilinear interpolation.

    ``texture``: float32 (SIDE, SIDE), repeated without end. ``x``, ``y``: positions, in micrometers along its columns
    and rows, of any shape. ``pixel_um``: size of its pixels. Returns float32 of that shape.
    """
    scale = np.float32(1 / pixel_um)
    across, down = (x * scale).astype(np.float32), (y * scale).astype(np.float32)
    column, row = np.floor(across), np.floor(down)
    across, down = across - column, down - row
    left, top = (
        column.astype(np.int32) & np.int32(SIDE - 1),
        (row.astype(np.int32) & np.int32(SIDE - 1)) << np.int32(10),
    )
    right, bottom = (left + np.int32(1)) & np.int32(SIDE - 1), (top + np.int32(SIDE)) & np.int32(SIDE * SIDE - 1)
    flat = texture.ravel()
    corners = (flat.take(row | column, mode="clip") for row in (top, bottom) for column in (left, right))
    upper = next(corners) * (1 - across) + next(corners) * across
    lower = next(corners) * (1 - across) + next(corners) * across
    return upper * (1 - down) + lower * down


@lru_cache(maxsize=8)
def make_textures(look_name: str) -> TextureSet:
    """Generate the textures of a look; those of the last looks are cached."""
    style = get_look(look_name).texture
    rng = random_stream(0, look_name, "textures")
    textures = TextureSet(
        _fiber_texture(rng, style, style.bundle, style.length),
        _fiber_texture(rng, style, 0.3 * style.bundle, 0.45 * style.length),
        _fiber_texture(rng, style, style.weave, 11 * style.weave),
        _equalize(_band_noise(rng, 1.1 + 1.5 * style.grain, 1.1 + 1.5 * style.grain)),
        _equalize(_fractal_noise(rng, 26)),
        _equalize(_smooth_noise(rng, 70)),
    )
    for texture in vars(textures).values():
        texture.flags.writeable = False
    return textures


def _frequencies() -> tuple[Floats, Floats]:
    """Return the frequencies of a Fourier transform in waves per pixel, (row, 1) and (1, column)."""
    return np.fft.fftfreq(SIDE).astype(np.float32)[:, None], np.fft.rfftfreq(SIDE).astype(np.float32)[None]


def _band_noise(rng: np.random.Generator, length: float, width: float) -> Floats:
    """Generate noise with a grain of ``length`` pixels along a row and ``width`` pixels along a column."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    square = (rows * width) ** 2 + (columns * length) ** 2
    return np.fft.irfft2(noise * square**0.25 * np.exp(-4 * square), (SIDE, SIDE))


def _fractal_noise(rng: np.random.Generator, size: float) -> Floats:
    """Generate noise with detail at all scales below a size in pixels."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    return np.fft.irfft2(noise / (1 + (size * np.hypot(rows, columns)) ** 2.2), (SIDE, SIDE))


def _smooth_noise(rng: np.random.Generator, size: float) -> Floats:
    """Generate noise without detail below a size in pixels."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    return np.fft.irfft2(noise * np.exp(-((size * np.hypot(rows, columns)) ** 2)), (SIDE, SIDE))


def _equalize(values: Floats) -> Floats:
    """Transform values so that they are evenly distributed from 0 to 1; quantiles are estimated from some values."""
    share = np.linspace(0, 1, 513)
    quantiles = np.quantile(values.ravel()[::37], share)
    return np.interp(values, quantiles, share).astype(np.float32)


def _fiber_texture(rng: np.random.Generator, style: TextureStyle, width_um: float, length_um: float) -> Floats:
    """Generate wavy fibers along the rows of a texture, two sets woven into each other."""
    wave = style.wave / FINE_UM * min(1.0, length_um / 60)
    rows, columns = np.indices((SIDE, SIDE))
    sets = []
    for _ in range(2):
        straight = _band_noise(rng, length_um / FINE_UM, width_um / FINE_UM)
        shift = wave * _standardize(_fractal_noise(rng, 1.6 * length_um / FINE_UM))
        moved = np.round(rows + shift).astype(np.int64) % SIDE
        sets.append(_standardize(straight[moved, columns]))
    over = _standardize(_fractal_noise(rng, length_um / FINE_UM))
    return _equalize(np.where(over > 0, sets[0] + 0.35 * np.abs(over), sets[1] + 0.35 * np.abs(over)))


def _standardize(values: Floats) -> Floats:
    """Scale to mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()
