"""Damage found in files that were written whole, cut, or changed in a known place."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile

from napari_melanoma.core.errors import DamagedImage, UnreadableImage
from napari_melanoma.io import image_damage, pillow_images
from napari_melanoma.io.formats import DAMAGE_ERRORS

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


BMP, NARROW_BMP = written("BMP"), written("BMP", PICTURE.crop((0, 0, 61, SIDE)))
PNG = written("PNG")
LOSSY, LOSSLESS = written("WEBP", quality=95), written("WEBP", lossless=True)
ANIMATION = written("WEBP", save_all=True, append_images=[PICTURE.rotate(90)], lossless=True)
WITH_ALPHA = written("WEBP", PICTURE.convert("RGBA"), quality=90)
HEIC, PLAIN_HEIC = written_heif(quality=90), written_heif(quality=90, save_nclx_profile=False)

TRUNCATED = "the file is truncated"
CASES = {
    "PNG": [
        Case("whole", PNG, None),
        Case("half", PNG[: len(PNG) // 2], TRUNCATED),
        Case("without its end", PNG[:-12], TRUNCATED),
        Case("changed header", PNG[:28] + b"\1" + PNG[29:], "a checksum differs"),
        Case("changed palette", png_with(b"PLTE"), "a checksum differs"),
        Case("changed transparency", png_with(b"tRNS"), "a checksum differs"),
        Case("changed pixels", png_with(b"IDAT"), "a checksum differs"),
    ],
    "BMP": [
        Case("whole", BMP, None),
        Case("without the last padding", NARROW_BMP[:-1], None),
        Case("three quarters", BMP[: 54 + SIDE * SIDE * 3 * 3 // 4], "image file is truncated"),
        Case("runs", run_length_bmp(6, stated=6), None),
        Case("runs that end early", run_length_bmp(3, stated=6), None),
        Case("runs without an end", run_length_bmp(6, stated=6, ended=False), None),
        Case("half of the runs", run_length_bmp(3, stated=6, ended=False), "3 of its 6 rows are missing"),
        Case(
            "half of the runs of 4 bits",
            run_length_bmp(3, stated=6, ended=False, bits=4),
            "3 of its 6 rows are missing",
        ),
    ],
    "WebP": [
        Case("lossy", LOSSY, None),
        Case("lossless", LOSSLESS, None),
        Case("animation", ANIMATION, None),
        Case("with alpha", WITH_ALPHA, None),
        Case("zeros in lossy", LOSSY[:1000] + bytes(80) + LOSSY[1080:], "a run of 64 zero bytes"),
        Case("zeros in lossless", LOSSLESS[:3000] + bytes(99) + LOSSLESS[3099:], "a run of 64 zero bytes"),
    ],
    "HEIC": [
        Case("whole", HEIC, None),
        Case("without a color profile", PLAIN_HEIC, None),
        Case("zeros", HEIC[:-200] + bytes(100) + HEIC[-100:], "bytes that HEVC does not allow"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, cases in CASES.items() for case in cases],
    ids=[f"{kind}: {case.name}" for kind, cases in CASES.items() for case in cases],
)
def test_damage_is_described(kind, case: Case) -> None:
    _, damage = pillow_images.read_checked(io.BytesIO(case.content), kind, smallest=1)
    if case.damage is None:
        assert damage is None
    else:
        assert damage is not None
        assert case.damage in damage


def test_damaged_boxes_of_a_heic_are_left_to_its_decoder() -> None:
    truncated = (HEIC[:stop] for stop in range(0, HEIC.index(b"mdat"), 9))
    for content in (b"\0\0\0\x18ftypheic", b"\0\0\0\2meta", *truncated):
        assert image_damage.find_heif_damage(content) is None


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("WebP", LOSSY[: len(LOSSY) // 2]),
        ("WebP", ANIMATION[: len(ANIMATION) // 3]),
        ("WebP", LOSSY[:20]),
        ("HEIC", HEIC[: len(HEIC) * 3 // 4]),
        ("HEIC", b"\0\0\0\x18ftypheic"),
        ("PNG", PNG[:20]),
        ("PNG", PNG[:17] + b"\1" + PNG[18:]),
        ("BMP", BMP[:30]),
    ],
)
def test_other_damaged_files_cannot_be_read_even_if_damage_is_accepted(kind, content: bytes) -> None:
    with pytest.raises((UnreadableImage, *DAMAGE_ERRORS)):
        pillow_images.decode(io.BytesIO(content), kind, accept_damaged=True)


@pytest.mark.parametrize(("kind", "content", "rows"), [("BMP", BMP, slice(40, None)), ("PNG", PNG, slice(0, 24))])
def test_the_present_part_of_a_truncated_file_is_decoded_if_damage_is_accepted(kind, content: bytes, rows) -> None:
    half = content[: len(content) // 2]
    with pytest.raises(DamagedImage):
        pillow_images.decode(io.BytesIO(half), kind)
    found = pillow_images.decode(io.BytesIO(half), kind, accept_damaged=True)
    assert found.damage is not None
    assert found.rgb.shape == NOISE.shape
    assert np.array_equal(found.rgb[rows], NOISE[rows])  # a BMP begins at the bottom
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_the_present_part_of_a_truncated_deep_png_is_decoded(mode) -> None:
    deep = NOISE.astype(np.uint16) * 257
    content = imagecodecs.png_encode(deep if mode == "RGB" else np.ascontiguousarray(deep[..., 0]))
    found = pillow_images.decode(io.BytesIO(content[: len(content) // 2]), "PNG", accept_damaged=True)
    expected = NOISE if mode == "RGB" else NOISE[..., :1].repeat(3, axis=2)
    assert np.array_equal(found.rgb[:24], expected[:24])


def test_other_threads_refuse_truncated_images_while_one_reads_them() -> None:
    half = io.BytesIO(BMP[: len(BMP) // 2])
    with pillow_images._reading_truncated(), ThreadPoolExecutor(1) as other:
        assert ImageFile.LOAD_TRUNCATED_IMAGES
        with pytest.raises(OSError, match="image file is truncated"):
            other.submit(Image.open(half).load).result()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
