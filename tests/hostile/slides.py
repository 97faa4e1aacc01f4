"""TIFF pyramids: unusual valid ones, truncated and patched files, false tags, endless chains of directories."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from numpy.random import Generator

from hostile.oracle import Case, equal, one_of, same
from hostile.photos import written
from hostile.sandbox import Sandbox

TILE = 64
MPP = 0.5
DAMAGED = -1.0


def tissue(rng: Generator, tile: int = TILE) -> np.ndarray:
    """A picture of several tiles in which no two tiles are alike."""
    height, width = (int(n) * tile + int(rng.integers(1, tile)) for n in rng.integers(2, 6, 2))
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([rows * 200 / height, columns * 200 / width, (rows + columns) % 97], -1) + rng.uniform(0, 50)
    return rgb.astype(np.uint8)


def pyramid(path: Path, rgb: np.ndarray, rng: Generator, **how: object) -> Path:
    """Write a tiled pyramid without loss."""
    options = {"compression": str(rng.choice(["none", "zlib", "lzw"])), "tile": (TILE, TILE), "metadata": None}
    options |= {"photometric": "rgb", "resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER", **how}
    big = bool(rng.integers(2))
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=str(rng.choice(["<", ">"]))) as tiff:
        tiff.write(rgb, **options)
        tiff.write(np.ascontiguousarray(rgb[::2, ::2]), subfiletype=1, **options)
    return path


def read(path: Path) -> Callable[[], np.ndarray]:
    """Request every tile of level 0; tiles reported as damaged are marked."""

    def act() -> np.ndarray:
        from napari_melanoma.core.geometry import Box
        from napari_melanoma.slides.reading.opening import open_slide
        from napari_melanoma.slides.reading.slide import DamagedTile

        with open_slide(path) as slide:
            full, last = slide.info.levels[0], None
            pixels = np.full((min(full.height, 2000), min(full.width, 2000), 3), DAMAGED)
            for row in range(0, pixels.shape[0], TILE):
                for column in range(0, pixels.shape[1], TILE):
                    box = Box(row, column, min(TILE, len(pixels) - row), min(TILE, pixels.shape[1] - column))
                    part = np.s_[row : row + box.height, column : column + box.width]
                    try:
                        pixels[part] = slide.read_region(0, box)[..., :3]
                    except DamagedTile as fault:
                        last = fault
            if last is not None and (pixels == DAMAGED).all():
                raise last
            return pixels

    return act


def right_but_for_damage(rgb: np.ndarray, tolerance: float = 1.0, gaps: bool = False) -> Callable[[np.ndarray], str]:
    """Every tile is intact or reported as damaged; ``gaps``: or white, where the file has no such tile."""

    def check(found: np.ndarray) -> str:
        if found.shape != rgb.shape:
            return f"the slide has {found.shape[:2]} pixels, not {rgb.shape[:2]}"
        good = (np.abs(found - rgb) <= tolerance) | (found == DAMAGED)
        if gaps:
            good |= (found == 255) | (found == 0)
        return "" if good.all() else f"{(~good).mean():.0%} of the pixels are wrong and not marked"

    return check


def complete(rgb: np.ndarray, tolerance: float = 1.0) -> Callable[[np.ndarray], str]:
    """All of it is as it was."""
    return lambda found: (
        "parts were reported as damaged" if (found == DAMAGED).any() else right_but_for_damage(rgb, tolerance)(found)
    )


def legal_pyramids(rng: Generator, box: Sandbox) -> Case:
    rgb = tissue(rng)
    name = str(rng.choice(["slide.tif", "Schnitt ä.tiff", "病理.tif", "slide.svs", "no-suffix", "a'b.tif"]))
    path = pyramid(box.inputs / name, rgb, rng)
    return Case(read(path), path.name, complete(rgb), refusable=False, seconds=20)


def legal_flat(rng: Generator, box: Sandbox) -> Case:
    """One image in strips, without coarser levels and without a scale."""
    rgb, path = tissue(rng), box.inputs / "flat.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", compression="zlib", rowsperstrip=16, metadata=None)
    return Case(read(path), path.name, complete(rgb), refusable=False, seconds=20)


def legal_jpeg(rng: Generator, box: Sandbox) -> Case:
    rgb = tissue(rng)
    path = pyramid(box.inputs / "jpeg.tif", rgb, rng, compression="jpeg", compressionargs={"level": 95})
    return Case(read(path), path.name, equal(rgb, mean=6.0), refusable=False, seconds=20)


def cut(rng: Generator, box: Sandbox) -> Case:
    rgb = tissue(rng)
    path = pyramid(box.inputs / "cut.tif", rgb, rng)
    content = path.read_bytes()
    written(path, content[: int(len(content) * rng.uniform(0.01, 0.99))])
    return Case(read(path), path.name, right_but_for_damage(rgb), seconds=5)


def flipped_bits(rng: Generator, box: Sandbox) -> Case:
    rgb = tissue(rng)
    path = pyramid(box.inputs / "flipped.tif", rgb, rng)
    content = bytearray(path.read_bytes())
    start = 0 if rng.random() < 0.5 else len(content) - 600
    for place in rng.integers(max(0, start), max(0, start) + 600, 6):
        content[place % len(content)] ^= 1 << int(rng.integers(8))
    written(path, bytes(content))
    return Case(read(path), path.name, right_but_for_damage(rgb), undecidable=True, seconds=5)


def overwritten_tiles(rng: Generator, box: Sandbox) -> Case:
    """Garbage in the place of compressed tiles."""
    rgb = tissue(rng)
    path = pyramid(box.inputs / "garbage.tif", rgb, rng, compression="zlib")
    offsets, counts = _tag_values(path, 324), _tag_values(path, 325)
    with path.open("rb+") as file:
        for tile in rng.choice(len(offsets), max(1, len(offsets) // 3), replace=False):
            file.seek(offsets[tile])
            file.write(rng.bytes(counts[tile]))
    return Case(read(path), path.name, right_but_for_damage(rgb), seconds=5)


def cut_jpeg_tiles(rng: Generator, box: Sandbox) -> Case:
    """JPEG tiles whose data end early or go on as zeros, of which libjpeg makes gray without an error."""
    rgb = tissue(rng)
    path = pyramid(box.inputs / "jpeg.tif", rgb, rng, compression="jpeg", compressionargs={"level": 95})
    sound = read(path)()
    offsets, counts = _tag_values(path, 324), _tag_values(path, 325)
    content = bytearray(path.read_bytes())
    for tile in rng.choice(len(offsets), max(1, len(offsets) // 3), replace=False):
        scan, end = content.index(b"\xff\xda", offsets[tile]) + 14, offsets[tile] + counts[tile]
        start = int(rng.uniform(scan, max(scan, end - 80)))  # the effect of a few zeros is undefined
        content[start:end] = bytes(end - start) if rng.random() < 0.5 else b"\xff\xd9".ljust(end - start, b"\0")
    written(path, bytes(content))
    return Case(read(path), path.name, right_but_for_damage(sound), seconds=5)


def lost_tiles(rng: Generator, box: Sandbox) -> Case:
    """Tiles at an offset of 0 (sparse), beyond the end, or all at one place (overlapping)."""
    rgb, how = tissue(rng), str(rng.choice(["sparse", "beyond", "overlapping", "counts"]))
    path = pyramid(box.inputs / f"{how}.tif", rgb, rng, compression="zlib")
    offsets, counts = _tag_values(path, 324), _tag_values(path, 325)
    chosen = rng.choice(len(offsets), max(1, len(offsets) // 3), replace=False)
    for tile in chosen:
        offsets[tile] = {"sparse": 0, "beyond": 2**31 - 7, "overlapping": offsets[0], "counts": offsets[tile]}[how]
        counts[tile] = {"sparse": 0, "counts": 2**31 - 1, "overlapping": counts[0]}.get(how, counts[tile])
    _patch(path, 324, offsets)
    _patch(path, 325, counts)
    right = right_but_for_damage(rgb, gaps=how == "sparse")
    return Case(read(path), path.name, right, undecidable=how == "overlapping", seconds=5)


def lying_tags(rng: Generator, box: Sandbox) -> Case:
    """A tag of the first directory with another value than the data have."""
    rgb = tissue(rng)
    path = pyramid(box.inputs / "lying.tif", rgb, rng, compression="zlib")
    tag = int(rng.choice([256, 257, 258, 259, 262, 277, 284, 317, 322, 323, 339]))
    _patch(path, tag, [int(rng.choice([0, 1, 2, 3, 7, 63, 65, 4096, 65535]))])
    # Photometric, predictor and sample format change what legal values mean; the others contradict the data.
    return Case(read(path), path.name, right_but_for_damage(rgb), undecidable=True, seconds=5)


def giant_size(rng: Generator, box: Sandbox) -> Case:
    """Ten tiles declared as a slide of billions of pixels: only existing tiles may be shown as intact."""
    rgb = tissue(rng)
    path = pyramid(box.inputs / "giant.tif", rgb, rng, compression="zlib")
    for tag in (256, 257):
        _patch(path, tag, [int(rng.integers(20_000, 65_000))])
    return Case(read(path), path.name, _mostly_damaged, seconds=20)


def _mostly_damaged(found: np.ndarray) -> str:
    return (
        "" if (found == DAMAGED).mean() > 0.5 or (found >= 254).mean() > 0.5 else "pixels that no tile holds are shown"
    )


def endless_chain(rng: Generator, box: Sandbox) -> Case:
    """Directories that point at themselves or at one another, or claim tens of thousands of entries."""
    rgb = tissue(rng)
    path = pyramid(box.inputs / "chain.tif", rgb, rng)
    with tifffile.TiffFile(path) as tiff:
        pages = [tiff.pages[0], tiff.pages[1]]
        order, big = tiff.byteorder, tiff.is_bigtiff
        starts = [page.offset for page in pages]
        entries, width, pointer = (8, 20, "Q") if big else (2, 12, "I")
        counts = [len(page.tags) for page in pages]
    with path.open("rb+") as file:
        if rng.random() < 0.3:
            file.seek(starts[1])
            file.write(struct.pack(f"{order}{'Q' if big else 'H'}", 60_000))
        else:
            file.seek(starts[1] + entries + width * counts[1])
            file.write(struct.pack(f"{order}{pointer}", starts[int(rng.integers(2))]))
    return Case(read(path), path.name, right_but_for_damage(rgb), seconds=5)


def long_chain(rng: Generator, box: Sandbox) -> Case:
    """Thousands of tiny directories behind the image."""
    rgb, path = tissue(rng), box.inputs / "long.tif"
    one = np.zeros((4, 4, 3), np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, photometric="rgb", tile=(TILE, TILE), compression="zlib", metadata=None)
        for _ in range(int(rng.integers(1000, 3000))):
            tiff.write(one, photometric="rgb", metadata=None)
    return Case(read(path), path.name, right_but_for_damage(rgb), seconds=20)


def absurd_scale(rng: Generator, box: Sandbox) -> Case:
    """An impossible scale is not used, and is reported."""
    rgb = tissue(rng)
    written_um = float(rng.choice([1e-4, 1e-3, 150.0, 5000.0]))
    path = pyramid(box.inputs / "scale.tif", rgb, rng, resolution=(1e4 / written_um, 1e4 / written_um))
    if rng.random() < 0.3:
        _patch(path, 282, [0], raw=struct.pack("<II", 0, 0))

    def act() -> bool:
        from napari_melanoma.slides.reading.opening import open_slide

        with open_slide(path) as slide:
            return slide.info.pixel_size is None and bool(slide.info.warnings)

    return Case(act, path.name, same(True), refusable=False, seconds=5)


def garbage_heads(rng: Generator, box: Sandbox) -> Case:
    heads = [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b""]
    name = f"garbage{rng.choice(['.svs', '.ndpi', '.tif', '.mrxs', '.scn', '.bif', '.qptiff', '.vms', '.svslide'])}"
    content = one_of(heads, rng) + rng.bytes(int(rng.integers(0, 4000)))
    return Case(read(written(box.inputs / name, content)), name)


def _tag_values(path: Path, code: int) -> list[int]:
    with tifffile.TiffFile(path) as tiff:
        value = tiff.pages[0].tags[code].value
    return [int(one) for one in value] if isinstance(value, tuple) else [int(value)]


def _patch(path: Path, code: int, values: list[int], raw: bytes | None = None) -> None:
    """Overwrite the values of a tag of the first directory in their place."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags.get(code)
        order = tiff.byteorder
    if tag is None:
        return
    letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(int(tag.dtype), "I")
    limit = 2 ** (8 * struct.calcsize(letter)) - 1
    packed = raw or b"".join(struct.pack(f"{order}{letter}", min(value, limit)) for value in values)
    with path.open("rb+") as file:
        file.seek(tag.valueoffset)
        file.write(packed)
