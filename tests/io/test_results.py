"""Results survive a round trip, take little memory, and leave no partial file on a full disk."""

import errno
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from napari_melanoma.core.errors import InputError, SaveError, UnreadableImage
from napari_melanoma.data.mask_values import read_lesion_mask
from napari_melanoma.io.results import (
    format_cell,
    read_labels,
    read_mask,
    read_table,
    write_labels,
    write_mask,
    write_probability,
    write_rgb,
    write_table,
)

MASK = np.arange(20)[:, None] > np.arange(30)


def test_mask(tmp_path) -> None:
    write_mask(tmp_path / "new" / "mask.png", MASK)
    with Image.open(tmp_path / "new" / "mask.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), MASK * 255)
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "mask.png"), MASK)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ones.png", MASK.astype(np.uint8)),
        ("truth.png", MASK),
        ("deep.png", MASK.astype(np.uint16) * 65535),
        ("colours.bmp", np.repeat(MASK[..., None], 3, axis=-1).astype(np.uint8) * 255),
        ("soft.jpg", MASK.astype(np.uint8) * 255),
        ("empty.png", np.zeros((20, 30), np.uint8)),
    ],
)
def test_foreign_masks(name, values, tmp_path) -> None:
    Image.fromarray(values).save(tmp_path / name)
    expected = MASK if values.any() else np.zeros_like(MASK)
    assert (read_mask(tmp_path / name) != expected).mean() < 0.01


def test_a_label_image_is_no_mask(tmp_path) -> None:
    """All its values are dark, so that nothing of it was lesion."""
    labels = MASK.astype(np.uint8)
    labels[0, 0] = 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    with pytest.raises(UnreadableImage, match="values up to 2 are those of a label image"):
        read_mask(tmp_path / "labels.png")


@pytest.mark.parametrize("white", [1000, 4095, 65535])
def test_a_mask_of_16_bits_with_soft_edges(white, tmp_path) -> None:
    soft = np.asarray(Image.fromarray(MASK.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(2)))
    Image.fromarray(np.rint(soft / soft.max() * white).astype(np.uint16)).save(tmp_path / "soft.png")
    assert np.count_nonzero(read_mask(tmp_path / "soft.png") != (soft > soft.max() / 2)) <= 1


@pytest.mark.parametrize(("content", "found"), [(b"", "no image"), (b"II*\0", "TIFF"), (b"\x89PNG\r\n\x1a\n", "")])
def test_invalid_masks(content, found, tmp_path) -> None:
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=f"cannot be read as a mask.*{found}.*expected a PNG"):
        read_mask(tmp_path / "mask.png")


def test_a_missing_mask(tmp_path) -> None:
    with pytest.raises(UnreadableImage, match="cannot be read as a mask"):
        read_mask(tmp_path / "mask.png")


LABELS = (np.arange(600).reshape(20, 30) % 5).astype(np.uint8)


def test_labels(tmp_path) -> None:
    write_labels(tmp_path / "new" / "labels.png", LABELS)
    np.testing.assert_array_equal(read_labels(tmp_path / "new" / "labels.png"), LABELS)


def test_foreign_labels(tmp_path) -> None:
    """Of a palette the indices count, of gray in three channels the gray; one bit is two classes."""
    with_palette = Image.fromarray(LABELS).convert("P")
    with_palette.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 90, 90, 0, 0, 90, 90])
    with_palette.save(tmp_path / "palette.png")
    Image.fromarray(np.repeat(LABELS[..., None], 3, axis=-1)).save(tmp_path / "grey.png")
    Image.fromarray(MASK).save(tmp_path / "bits.png")
    for name, expected in (("palette", LABELS), ("grey", LABELS), ("bits", MASK)):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png"), expected, err_msg=name)


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("colours.png", np.stack([LABELS, LABELS, LABELS + 1], axis=-1), "found colors"),
        ("deep.png", LABELS.astype(np.uint16) * 1000, "more than 8 bits"),
        ("lossy.jpg", LABELS, "found JPEG"),
    ],
)
def test_invalid_label_images(name, values, found, tmp_path) -> None:
    Image.fromarray(values).save(tmp_path / name)
    with pytest.raises(UnreadableImage, match=f"cannot be read as a label image.*{found}"):
        read_labels(tmp_path / name)


def test_probability(tmp_path) -> None:
    write_probability(tmp_path / "p.png", np.array([[0.0, 0.5, 1.0, 1.1, -0.1]], np.float32))
    with Image.open(tmp_path / "p.png") as image:
        assert np.asarray(image).tolist() == [[0, 128, 255, 255, 0]]


@pytest.mark.parametrize("pixels", [slice(None), slice(None, None, -2)], ids=["contiguous", "a view"])
def test_rgb(pixels, scene, tmp_path) -> None:
    write_rgb(tmp_path / "rgb.png", scene[pixels])
    with Image.open(tmp_path / "rgb.png") as image:
        np.testing.assert_array_equal(np.asarray(image), scene[pixels])


CELLS = [
    (None, ""),
    (float("nan"), ""),
    (np.float32("nan"), ""),
    (float("inf"), "inf"),
    (True, "true"),
    (np.bool_(False), "false"),
    (3, "3"),
    (np.int64(12345678), "12345678"),
    (3.0, "3"),
    (-0.0, "0"),
    (1234567.0, "1234567"),
    (1234567.89, "1234568"),
    (0.1 + 0.2, "0.3"),
    (np.float32(0.1), "0.1"),
    (2 / 3, "0.666667"),
    (1.5e-7, "0.00000015"),
    (-12.3456789, "-12.3457"),
    ("naevus, left", "naevus, left"),
    ("two\nlines", "two\nlines"),
    ('a "quote"', 'a "quote"'),
    ("é", "é"),
    (date(2024, 5, 6), "2024-05-06"),
]


@pytest.mark.parametrize(("value", "expected"), CELLS, ids=[f"{type(v).__name__} {v}" for v, _ in CELLS])
def test_cells(value, expected, tmp_path) -> None:
    write_table(tmp_path / "t.csv", [{"image": "a", "value": value}])
    assert read_table(tmp_path / "t.csv") == [{"image": "a", "value": expected}]


def test_columns_are_those_that_occur_in_their_order(tmp_path) -> None:
    rows = [{"image": "a", "area_px": 1.5}, {"image": "b", "error": "broken"}]
    write_table(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_bytes() == b"image,area_px,error\na,1.5,\nb,,broken\n"
    write_table(tmp_path / "t.csv", rows, columns=["error", "image", "age"])
    assert (tmp_path / "t.csv").read_bytes() == b"error,image,age\n,a,\nbroken,b,\n"


def test_pandas_reads_numbers_as_numbers(tmp_path) -> None:
    write_table(tmp_path / "t.csv", [{"area_px": 1e7, "small": 1e-9, "done": True}, {"area_px": 2.5}])
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["area_px"].tolist() == [1e7, 2.5]
    assert table["small"][0] == 1e-9
    assert bool(table["done"][0]) is True


@settings(max_examples=50)
@given(st.floats(-1e15, 1e15))
def test_numbers_keep_six_digits(tmp_path_factory, value) -> None:
    path = tmp_path_factory.getbasetemp() / "number.csv"
    write_table(path, [{"value": value}])
    text = read_table(path)[0]["value"]
    assert float(text) == pytest.approx(value, rel=5e-6)
    assert "e" not in text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.fractions(max_denominator=2**12).map(float))
@example(999999.5)
@example(-0.0)
@example(0.00009999995)
def test_digits_of_numbers_are_those_of_numpy(value) -> None:
    digits = max(6, len(str(abs(int(value)))))
    expected = np.format_float_positional(value + 0.0, precision=digits, unique=False, fractional=False, trim="-")
    assert format_cell(value) == format_cell(np.float64(value)) == expected


def test_a_name_that_is_no_unicode(tmp_path) -> None:
    write_table(tmp_path / "t.csv", [{"image": os.fsdecode(b"caf\xe9.jpg")}])
    assert read_table(tmp_path / "t.csv") == [{"image": "caf\\udce9.jpg"}]


def test_foreign_tables(tmp_path) -> None:
    (tmp_path / "t.csv").write_bytes("\ufeffimage,age\r\na\r\n".encode())
    assert read_table(tmp_path / "t.csv") == [{"image": "a", "age": ""}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,age\na,5,6\n", "row 1 has more cells"),
        (b"image\n\xff\n", "expected CSV in UTF-8"),
        (b'image\n"a"b\n', "expected CSV in UTF-8"),
        (None, "there is no file"),
    ],
)
def test_invalid_tables(content, message, tmp_path) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv")


NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
WRITERS = [
    ("mask.png", lambda path: write_mask(path, NOISE[..., 0] > 127)),
    ("probability.png", lambda path: write_probability(path, NOISE[..., 0] / 255)),
    ("rgb.png", lambda path: write_rgb(path, NOISE)),
    ("table.csv", lambda path: write_table(path, [{"a": "x" * 100_000}])),
]


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[case[0] for case in WRITERS])
def test_a_full_disk_keeps_the_existing_file(name, write, tmp_path, monkeypatch) -> None:
    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / name).write_text("the one before")
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(SaveError, match="the disk is full"):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "the one before"


@pytest.mark.parametrize(
    ("value", "mode"),
    [*((value, "L") for value in (1, 2, 100, 127, 128, 254, 255)), *((value, "P") for value in (100, 128, 255))],
)
def test_a_mask_is_read_as_its_import_reads_it(value: int, mode: str, tmp_path) -> None:
    """One value besides 0 is the lesion, whatever it is."""
    picture = Image.fromarray(MASK.astype(np.uint8) * np.uint8(1 if mode == "P" else value))
    if mode == "P":
        picture.putpalette([0, 0, 0, value, 0, 0])
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_lesion_mask(tmp_path / "mask.png", "mask.png"), MASK)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)
