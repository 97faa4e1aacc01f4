"""TIFF of every depth and layout gives the same colors; stacks and slides are left to other readers."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.photographs import read_image_size, read_photograph
from napari_melanoma.io.tiff import is_not_for_this_reader


@dataclass(frozen=True)
class Case:
    """Pixels made from the scene (row, column, channel), how tifffile stores them, and what is expected."""

    name: str
    pixels: Callable[[np.ndarray], np.ndarray]
    options: dict = field(default_factory=dict)
    expected: Callable[[np.ndarray], np.ndarray] = lambda scene: scene
    tolerance: int = 0


def grey(scene: np.ndarray) -> np.ndarray:
    return scene[..., 0]


def in_grey(scene: np.ndarray) -> np.ndarray:
    return np.repeat(scene[..., :1], 3, axis=-1)


def with_alpha(scene: np.ndarray) -> np.ndarray:
    return np.concatenate([scene, np.full_like(scene[..., :1], 51)], axis=-1)


def premultiplied(scene: np.ndarray) -> np.ndarray:
    return np.concatenate([(scene * 0.2).round(), np.full(scene[..., :1].shape, 51)], axis=-1).astype(np.uint8)


def over_white(scene: np.ndarray) -> np.ndarray:
    return 0.2 * scene + 0.8 * 255


RGB, GREY = {"photometric": "rgb"}, {"photometric": "minisblack"}
CASES = [
    Case("8 bit", lambda scene: scene, RGB),
    Case("8 bit, compressed", lambda scene: scene, RGB | {"compression": "lzw", "predictor": True}),
    Case("tiles without levels", lambda scene: scene, RGB | {"tile": (16, 16)}),
    Case("planes", lambda scene: np.moveaxis(scene, -1, 0), RGB | {"planarconfig": "separate"}),
    Case("JPEG in YCbCr", lambda scene: scene, RGB | {"compression": "jpeg"}, tolerance=16),
    Case("JPEG 2000", lambda scene: scene, RGB | {"compression": "jpeg2000"}, tolerance=1),
    Case("16 bit", lambda scene: scene.astype(np.uint16) * 257, RGB),
    Case("16 bit, big endian", lambda scene: scene.astype(np.uint16) * 257, RGB | {"byteorder": ">"}),
    Case("fractions", lambda scene: (scene / 255).astype(np.float32), RGB, tolerance=1),
    Case("BigTIFF", lambda scene: scene, RGB | {"bigtiff": True}),
    Case("alpha", with_alpha, RGB | {"extrasamples": ["unassalpha"]}, over_white, 1),
    Case("alpha, premultiplied", premultiplied, RGB | {"extrasamples": ["assocalpha"]}, over_white, 3),
    Case("a fourth channel of no meaning", with_alpha, RGB | {"extrasamples": ["unspecified"]}),
    Case("grey", grey, GREY, in_grey),
    Case("16-bit gray", lambda scene: grey(scene).astype(np.uint16) * 257, GREY, in_grey),
    Case("white is zero", lambda scene: 255 - grey(scene), {"photometric": "miniswhite"}, in_grey),
    Case("truth values", lambda scene: grey(scene) > 99, GREY, lambda scene: np.where(in_grey(scene) > 99, 255, 0)),
    Case(
        "gray with alpha",
        lambda scene: with_alpha(scene)[..., [0, 3]],
        GREY | {"extrasamples": ["unassalpha"], "planarconfig": "contig"},
        lambda scene: over_white(in_grey(scene)),
        1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reads(case: Case, scene, tmp_path) -> None:
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, case.pixels(scene), metadata=None, **case.options)
    found = read_photograph(path).rgb
    assert found.shape == scene.shape
    assert np.abs(found - case.expected(scene).astype(float)).max() <= case.tolerance
    assert read_image_size(path) == (scene.shape[1], scene.shape[0])
    with path.open("rb") as file:
        assert not is_not_for_this_reader(file)


@pytest.mark.parametrize("scale", [257, 1], ids=["16-bit palette", "8-bit palette"])
def test_palette(scale, tmp_path) -> None:
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 7] = np.array([10, 20, 30]) * scale
    palette[:, 0] = 255 * scale
    indices = np.full((16, 20), 7, np.uint8)
    tifffile.imwrite(tmp_path / "palette.tif", indices, photometric="palette", colormap=palette)
    assert read_photograph(tmp_path / "palette.tif").rgb[3, 4].tolist() == [10, 20, 30]


def test_cmyk_with_and_without_profile(key_only_profile, tmp_path) -> None:
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    inks.save(tmp_path / "plain.tif")
    inks.save(tmp_path / "profile.tif", icc_profile=key_only_profile)
    assert read_photograph(tmp_path / "plain.tif").rgb[0, 0].tolist() == [0, 255, 255]
    assert read_photograph(tmp_path / "profile.tif").rgb[0, 0].min() >= 253


def test_a_rotated_16_bit_tiff(scene, tmp_path) -> None:
    deep = np.rot90(scene).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "t.tif", deep, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read_photograph(tmp_path / "t.tif").rgb, scene)


def test_thumbnail_pages_are_ignored(scene, tmp_path) -> None:
    path = tmp_path / "photo.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(scene, photometric="rgb", metadata=None, subifds=1)
        writer.write(scene[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
        writer.write(scene[::3, ::3], photometric="rgb", metadata=None)
    np.testing.assert_array_equal(read_photograph(path).rgb, scene)


PIXELS = np.zeros((64, 80, 3), np.uint8)


def pages(path) -> None:
    tifffile.imwrite(path, np.zeros((3, *PIXELS.shape), np.uint8), photometric="rgb")


def pages_of_several_sizes(path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for rows in (64, 60):
            writer.write(PIXELS[:rows], photometric="rgb", metadata=None)


def imagej_stack(path) -> None:
    tifffile.imwrite(path, np.zeros((4, 64, 80), np.uint8), imagej=True, metadata={"axes": "ZYX"})


def ome(path) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", ome=True)


def pyramid(path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(PIXELS, photometric="rgb", tile=(16, 16), subifds=1, metadata=None)
        writer.write(PIXELS[::2, ::2], photometric="rgb", tile=(16, 16), subfiletype=1, metadata=None)


def aperio(path) -> None:
    description = "Aperio Image Library v1\n64x80 |AppMag = 20|MPP = 0.5"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(16, 16), description=description, metadata=None)


FOR_OTHERS = [
    (pages, "is a stack (shape 3 x 64 x 80 x 3, 3 pages)"),
    (pages_of_several_sizes, "is a stack (shape 64 x 80 x 3, 2 pages)"),
    (imagej_stack, "is a stack (shape 4 x 64 x 80"),
    (ome, "is an OME-TIFF"),
    (pyramid, "is a whole slide (a tiled pyramid)"),
    (aperio, "is an Aperio slide"),
]


@pytest.mark.parametrize(("write", "message"), FOR_OTHERS, ids=[case[0].__name__ for case in FOR_OTHERS])
def test_stacks_and_slides_are_for_others(write, message, tmp_path) -> None:
    path = tmp_path / "slide.tif"
    write(path)
    with path.open("rb") as file:
        assert is_not_for_this_reader(file)
    with pytest.raises(UnreadableImage) as caught:
        read_photograph(path)
    assert message in str(caught.value)
    assert "Open it with a reader for stacks or slides" in str(caught.value)


UNSUITABLE = [
    (np.full((20, 20), np.nan, np.float32), GREY, "400 values that are not finite"),
    (np.zeros((20, 20), np.int32), GREY, "32-bit signed integer samples"),
    (np.zeros((20, 20, 3), np.uint8), GREY | {"planarconfig": "contig"}, "3 channels of color space MINISBLACK"),
    (np.zeros((20, 20, 3), np.uint8), {"photometric": "cielab"}, "3 channels of color space CIELAB"),
    (np.zeros((8, 20), np.uint8), GREY, "is 20 x 8 pixels"),
]


@pytest.mark.parametrize(("pixels", "options", "message"), UNSUITABLE, ids=[case[2] for case in UNSUITABLE])
def test_messages_for_unsuitable_pixels_state_the_reason(pixels, options, message, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "photo.tif", pixels, metadata=None, **options)
    with pytest.raises(UnreadableImage) as caught:
        read_photograph(tmp_path / "photo.tif")
    assert message in str(caught.value)


def test_a_color_space_without_a_name(tmp_path) -> None:
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, PIXELS[..., 0], metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(60_000)
    with pytest.raises(UnreadableImage, match="1 channels of color space 60000, but gray, RGB"):
        read_photograph(path)


def test_a_huge_tiff_is_refused_before_it_is_decoded(tmp_path) -> None:
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, np.zeros((20, 20), np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(20_000)
        tiff.pages[0].tags["ImageLength"].overwrite(20_000)
    with pytest.raises(UnreadableImage, match="20000 x 20000 pixels"):
        read_photograph(path)


def test_a_damaged_tiff_is_not_for_others(tmp_path) -> None:
    path = tmp_path / "damaged.tif"
    path.write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    with path.open("rb") as file:
        assert not is_not_for_this_reader(file)


def test_a_page_with_too_few_parts_is_refused_before_memory_is_allocated(tmp_path) -> None:
    path = tmp_path / "claims.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[name].overwrite(12_000)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImage, match=r"claims\.tif claims 12000 x 12000 pixels"):
            read_photograph(path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_gray_with_samples_that_nothing_describes_is_refused(scene, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scene, photometric="minisblack", planarconfig="contig", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        offset = tiff.pages.first.tags["ExtraSamples"].offset
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[offset : offset + 2] = b"\xff\xfe"  # the number of a private tag
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UnreadableImage, match="has 3 channels of color space MINISBLACK"):
        read_photograph(tmp_path / "a.tif")


@pytest.mark.parametrize("largest", [200, 60000])
def test_a_palette_of_dark_colors_keeps_them(largest, tmp_path) -> None:
    table = np.repeat(np.linspace(0, 3000 if largest > 255 else 20, 256).astype(np.uint16)[None], 3, axis=0)
    table[:, 255] = largest
    indices = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=table, metadata=None)
    expected = table.T[indices] if largest < 256 else np.rint(table.T[indices] / 257)
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.tif").rgb, expected)


LEVELS = np.arange(64 * 80 * 3, dtype=np.uint32).reshape(64, 80, 3) % 256
SPREAD = (LEVELS * 257).astype(np.uint16)


@pytest.mark.parametrize(
    ("values", "tags", "note"),
    [
        (SPREAD >> 4, [], "12-bit values"),
        (SPREAD >> 6, [(281, 3, 1, 1023, True)], "10-bit values"),
        (SPREAD, [], None),
    ],
    ids=["by their largest value", "by the tag", "16 bits"],
)
def test_values_of_fewer_bits_are_spread_over_their_range(values, tags, note, tmp_path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, values, photometric="rgb", metadata=None, extratags=tags)
    found = read_photograph(path)
    assert np.abs(found.rgb.astype(int) - LEVELS).max() <= 1
    assert note is None or note in found.notes[0]
    assert len(found.notes) == (note is not None)
