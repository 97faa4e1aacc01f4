"""What the integrity checks find in files that were written whole, cut, or changed in a known place."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from napari_melanoma.io.image_damage import (
    NothingDecoded,
    PngHeader,
    check_bmp,
    check_heif,
    check_png,
    check_webp,
    read_png_header,
)

SIDE = 64
NOISE = np.random.default_rng(5).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
PICTURE = Image.fromarray(NOISE)


def written(kind: str, image: Image.Image = PICTURE, **options: object) -> bytes:
    """The bytes of a file as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def written_heif(**options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(PICTURE).save(file, **options)
    return file.getvalue()


def run_length_bmp(rows: int, *, stated: int, ended: bool = True, bits: int = 8) -> bytes:
    """A BMP of 4 columns whose rows are a run, two literals (or a literal pair of RLE4), and an end of line."""
    body = b"\x02\x05\x00\x03\x01\x02\x03\x00" if bits == 8 else b"\x02\x55\x00\x03\x12\x30"
    pixels = (body + b"\0\0") * rows + (b"\0\1" if ended else b"")
    header = b"BM" + bytes(8) + (54 + 1024).to_bytes(4, "little")
    information = (40, 4, stated), (1, bits), (1 if bits == 8 else 2, len(pixels), 0, 0, 256, 0)
    packed = [value.to_bytes(4, "little") for value in information[0]]
    packed += [value.to_bytes(2, "little") for value in information[1]]
    packed += [value.to_bytes(4, "little") for value in information[2]]
    return header + b"".join(packed) + bytes(1024) + pixels


def png_with(position: bytes, change: int = 0x01) -> bytes:
    """A palette PNG in which the first byte of the data of a chunk has changed."""
    content = bytearray(written("PNG", PICTURE.convert("P"), transparency=3, icc_profile=b"profile"))
    content[content.index(position) + 4] ^= change
    return bytes(content)


class Case(NamedTuple):
    """A file, and what its check states; None where it is intact."""

    name: str
    content: bytes
    damage: str | None


BMP = written("BMP")
PNG = written("PNG")
LOSSY, LOSSLESS = written("WEBP", quality=95), written("WEBP", lossless=True)
ANIMATION = written("WEBP", save_all=True, append_images=[PICTURE.rotate(90)], lossless=True)
WITH_ALPHA = written("WEBP", PICTURE.convert("RGBA"), quality=90)
HEIC, PLAIN_HEIC = written_heif(quality=90), written_heif(quality=90, save_nclx_profile=False)

CASES = {
    check_png: [
        Case("whole", PNG, None),
        Case("half", PNG[: len(PNG) // 2], "of the picture is missing"),
        Case("header only", PNG[:20], "its header is incomplete"),
        Case("changed header", PNG[:17] + b"\1" + PNG[18:], "its header is corrupt"),
        Case("changed palette", png_with(b"PLTE"), "its palette is corrupt"),
        Case("changed transparency", png_with(b"tRNS"), "its transparency is corrupt"),
    ],
    check_bmp: [
        Case("whole", BMP, None),
        Case("without the last padding", BMP[:-2], None),
        Case("three quarters", BMP[: 54 + SIDE * SIDE * 3 * 3 // 4], "25 % of the picture is missing: 48 of 64 rows"),
        Case("header only", BMP[:30], "its header is incomplete"),
        Case("runs", run_length_bmp(6, stated=6), None),
        Case("runs without an end", run_length_bmp(6, stated=6, ended=False), None),
        Case("half of the runs", run_length_bmp(3, stated=6, ended=False), "3 of 6 rows could be decoded"),
        Case("half of the runs of 4 bits", run_length_bmp(3, stated=6, ended=False, bits=4), "3 of 6 rows"),
    ],
    check_webp: [
        Case("lossy", LOSSY, None),
        Case("lossless", LOSSLESS, None),
        Case("animation", ANIMATION, None),
        Case("with alpha", WITH_ALPHA, None),
        Case("half", LOSSY[: len(LOSSY) // 2], "of its compressed data are missing"),
        Case("half of an animation", ANIMATION[: len(ANIMATION) // 3], "of its compressed data are missing"),
        Case("zeros in lossy", LOSSY[:1000] + bytes(80) + LOSSY[1080:], "a run of 64 zero bytes"),
        Case("zeros in lossless", LOSSLESS[:3000] + bytes(99) + LOSSLESS[3099:], "a run of 64 zero bytes"),
        Case("no picture", LOSSY[:12], "no picture data were found"),
    ],
    check_heif: [
        Case("whole", HEIC, None),
        Case("without a color profile", PLAIN_HEIC, None),
        Case("half", HEIC[: (len(HEIC) * 3) // 4], "of its compressed data are missing"),
        Case("zeros", HEIC[:-200] + bytes(100) + HEIC[-100:], "bytes that HEVC does not allow"),
        Case("no boxes", b"\0\0\0\x18ftypheic", None),  # the decoder reports it
    ],
}


@pytest.mark.parametrize(
    ("check", "case"),
    [(check, case) for check, cases in CASES.items() for case in cases],
    ids=[f"{check.__name__}: {case.name}" for check, cases in CASES.items() for case in cases],
)
def test_damage_is_stated(check, case: Case) -> None:
    damage = check(case.content).damage
    if case.damage is None:
        assert damage is None
    else:
        assert damage is not None
        assert case.damage in damage


@pytest.mark.parametrize(
    ("check", "content", "rows"), [(check_bmp, BMP, slice(48, None)), (check_png, PNG, slice(0, 16))]
)
def test_what_is_left_of_a_cut_file_is_decoded(check, content: bytes, rows: slice) -> None:
    found = check(content[: len(content) // 2])
    assert found.damage is not None
    with Image.open(io.BytesIO(found.content)) as image:
        pixels = np.asarray(image)
    assert pixels.shape == NOISE.shape
    assert np.array_equal(pixels[rows], NOISE[rows])  # a BMP begins at the bottom


def test_nothing_of_the_picture_is_there() -> None:
    with pytest.raises(NothingDecoded, match="none of its 64 rows"):
        check_bmp(BMP[:54])
    with pytest.raises(NothingDecoded, match="none of the data"):
        check_webp(LOSSY[:20])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (8, 8), (64, 33)])
def test_bytes_of_an_interlaced_png(width: int, height: int) -> None:
    # Seven passes over every eighth to every second pixel, a filter byte for each row of each (PNG specification, 8.2).
    grid = np.zeros((height, width), int)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [grid[row::rows, column::columns] for row, column, rows, columns in passes]
    expected = sum(part.shape[0] * (1 + 3 * part.shape[1]) for part in parts if part.size)
    assert PngHeader(width, height, bits=8, color=2, interlaced=True).raw_bytes == expected


def test_an_intact_png_keeps_its_pixels() -> None:
    header = read_png_header(PNG)
    assert header is not None
    assert (header.width, header.height, header.interlaced) == (SIDE, SIDE, False)
    with Image.open(io.BytesIO(check_png(PNG).content)) as image:
        assert np.array_equal(np.asarray(image), NOISE)
