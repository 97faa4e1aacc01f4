"""TIFF slides return the pixels that were written with any compression; damaged files are refused with a reason."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading import tiff as tiff_slides
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import DamagedTile
from napari_melanoma.slides.reading.tiff import open_tiff

LAYOUTS = {
    "JPEG tiles": {"tile": (64, 64), "compression": "jpeg", "compressionargs": {"level": 100}, "subsampling": (1, 1)},
    "JPEG 2000 tiles": {"tile": (64, 64), "compression": 34712},
    "JPEG 2000 tiles as Aperio marks them": {"tile": (64, 64), "compression": 33005},
    "LZW tiles": {"tile": (48, 80), "compression": "lzw", "predictor": True},
    "deflated tiles of the whole width": {"tile": (64, 304), "compression": "zlib"},
    "plain tiles": {"tile": (64, 64)},
    "LZW strips": {"rowsperstrip": 7, "compression": "lzw"},
    "one packed strip": {"rowsperstrip": 410, "compression": "zlib"},
    "one plain block": {},
    "plain strips": {"rowsperstrip": 16},
    "separate planes": {"planarconfig": "separate", "tile": (64, 64), "compression": "zlib"},
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_any_layout_gives_the_pixels_that_were_written(layout, tissue, tmp_path) -> None:
    options = LAYOUTS[layout]
    planes = np.moveaxis(tissue, -1, 0) if "planarconfig" in options else tissue
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", metadata=None, **options)
    with open_tiff(tmp_path / "a.tif") as slide:
        read = slide.read_region(0, Box(0, 0, 410, 300))
        assert np.abs(read.astype(int) - tissue).max() <= (6 if "JPEG tiles" in layout else 0)
        part = slide.read_region(0, Box(50, 60, 100, 130))
        np.testing.assert_array_equal(part, read[50:150, 60:190])


@pytest.fixture(scope="module")
def bordered(tissue, tmp_path_factory):
    """An open slide, and its pixels with white around them."""
    path = tmp_path_factory.mktemp("border") / "border.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", tile=(64, 64), compression="zlib")
    with open_tiff(path) as slide:
        yield slide, np.pad(tissue, ((90, 300), (90, 300), (0, 0)), constant_values=255)


@given(top=st.integers(-90, 450), left=st.integers(-90, 350), height=st.integers(1, 200), width=st.integers(1, 200))
def test_any_region_is_the_pixels_that_were_written_with_white_outside(top, left, height, width, bordered) -> None:
    slide, around = bordered
    read = slide.read_region(0, Box(top, left, height, width))
    np.testing.assert_array_equal(read, around[top + 90 : top + 90 + height, left + 90 : left + 90 + width])


def test_an_aperio_slide_has_its_scale_and_hides_its_user(write_svs, tissue) -> None:
    with open_slide(write_svs()) as slide:
        info = slide.info
        assert (info.format, info.kind, info.name) == ("Aperio SVS", "brightfield", "slide")
        assert (info.pixel_size.y_um, info.pixel_size.x_um, info.pixel_size.source) == (0.5, 0.5, "file")
        assert info.magnification == 20
        assert info.warnings == ()
        assert [(level.height, level.width, level.downsample) for level in info.levels] == [
            (410, 300, 1.0),
            (205, 150, 2.0),
            (103, 75, 4.0),
        ]
        assert "Jane" not in repr(dict(info.properties))
        assert info.properties["aperio.AppMag"] == "20"
        assert set(info.associated) == {"thumbnail", "label"}
        assert [slide.best_level(downsample) for downsample in (0.5, 1, 1.9, 2, 3.9, 100)] == [0, 0, 0, 1, 1, 2]
        thumbnail = slide.thumbnail(100)
        assert thumbnail.shape == (100, 73, 3)
        assert np.abs(thumbnail.mean(axis=(0, 1)) - tissue.mean(axis=(0, 1))).max() < 3


def test_one_damaged_tile_is_named_and_the_others_are_read(damaged_svs) -> None:
    with open_slide(damaged_svs) as slide:
        with pytest.raises(DamagedTile, match=r"level 0, row 64, column 128.*is readable") as fault:
            slide.read_region(0, Box(0, 0, 410, 300))
        assert (fault.value.level, fault.value.box) == (0, Box(64, 128, 64, 64))
        assert slide.read_region(0, Box(128, 0, 100, 300)).min() > 0


@pytest.mark.parametrize("end", [b"\0\0", b"\xff\xd9"], ids=["zeroed", "ended early"])
def test_a_tile_that_libjpeg_fills_up_without_an_error_is_damaged(end, tissue, tmp_path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", tile=(64, 64), compression="jpeg", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    content = bytearray(path.read_bytes())
    half = (content.index(b"\xff\xda", start) + start + size) // 2
    content[half : start + size] = end + bytes(start + size - half - 2)
    path.write_bytes(content)
    with open_slide(path) as slide:
        with pytest.raises(DamagedTile, match="level 0, row 64, column 128"):
            slide.read_region(0, Box(0, 0, 410, 300))
        slide.read_region(0, Box(128, 0, 100, 300))


@pytest.mark.parametrize("size", [(48, 40), (96, 80), (128, 32)], ids=str)
def test_a_jpeg_of_another_size_than_its_tile_is_damage(size, tissue, tmp_path) -> None:
    def tiles():
        for top in range(0, 128, 64):
            for left in range(0, 128, 64):
                height, width = size if (top, left) == (0, 64) else (64, 64)
                part = np.resize(tissue[top : top + 64, left : left + 64], (height, width, 3))
                yield simplejpeg.encode_jpeg(np.ascontiguousarray(part), colorsubsampling="444")

    how = {"photometric": "ycbcr", "tile": (64, 64), "compression": "jpeg", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", tiles(), shape=(128, 128, 3), dtype=np.uint8, **how)
    with open_slide(tmp_path / "a.tif") as slide:
        with pytest.raises(DamagedTile, match="level 0, row 0, column 64"):
            slide.read_region(0, Box(0, 0, 128, 128))
        slide.read_region(0, Box(64, 0, 64, 128))


def test_a_damaged_tile_is_marked(damaged_svs, write_svs, caplog) -> None:
    sound = open_slide(write_svs("sound.svs")).read_region(0, Box(0, 0, 410, 300))
    with open_slide(damaged_svs) as slide:
        for _ in range(2):
            shown = slide.read_for_display(0, Box(0, 0, 410, 300))
            differs = np.any(shown != sound, axis=2)
            assert differs[64:128, 128:192].all()
            assert differs.sum() == 64 * 64
        assert len(caplog.records) == 1
        with pytest.raises(DamagedTile):
            slide.read_region(0, Box(0, 0, 410, 300))


def test_a_truncated_file_is_shown_with_a_warning(tissue, tmp_path) -> None:
    path = tmp_path / "ahead.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        end = tiff.pages[0].dataoffsets[20]
    path.write_bytes(path.read_bytes()[:end])
    with open_slide(path) as slide:
        assert "truncated: 15 of 35 tiles" in " ".join(slide.info.warnings)
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 256, 300)), tissue[:256])
        with pytest.raises(DamagedTile, match=r"truncated"):
            slide.read_region(0, Box(0, 0, 300, 300))


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        ("rgba", {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "over white"),
        ("sixteen", {"photometric": "rgb"}, "8 bits"),
        ("palette", {"photometric": "palette"}, "8 bits"),
    ],
)
def test_other_colors_become_rgb_of_8_bits(samples, options, expected, tissue, tmp_path) -> None:
    alpha = np.full((*tissue.shape[:2], 1), 255, np.uint8)
    alpha[:100] = 0
    grey = tissue[..., 0]
    table = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
    data, known = {
        "rgba": (np.concatenate([tissue, alpha], axis=2), np.where(alpha == 0, 255, tissue)),
        "sixteen": (tissue.astype(np.uint16) * 257, tissue),
        "palette": (grey, np.repeat(grey[..., None], 3, axis=2)),
    }[samples]
    if samples == "palette":
        options = {**options, "colormap": table}
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(64, 64), compression="zlib", **options)
    with open_tiff(tmp_path / "a.tif") as slide:
        assert slide.info.kind == "brightfield"
        read = slide.read_region(0, Box(0, 0, 410, 300))
    np.testing.assert_array_equal(read, known)
    assert expected


DEEP = [
    ("12 bits", 4095, {}, "12-bit values, as no value exceeds"),
    ("12 bits with defective pixels", 4095, {"defects": 65535}, "12-bit values, as nearly no value exceeds"),
    ("10 bits by a tag", 1023, {"extratags": [(281, 3, 1, 1023, True)]}, "states 1023 as the maximum value"),
    ("10 bits by OME-XML", 1023, {"metadata": {"axes": "YXS", "SignificantBits": 10}}, "states 1023 as the maximum"),
    ("16 bits", 65535, {}, None),
]


@pytest.mark.parametrize(("white", "options", "note"), [case[1:] for case in DEEP], ids=[case[0] for case in DEEP])
@pytest.mark.parametrize("layout", ["tiles", "block"])
def test_colors_of_fewer_bits_in_16(layout, white, options, note, tissue, tmp_path) -> None:
    data = np.rint(tissue / 255 * white).astype(np.uint16)
    data[10, :5] = options.get("defects", white)
    metadata = options.get("metadata")
    path = tmp_path / ("a.ome.tif" if metadata else "a.tif")
    keywords = {"metadata": metadata, "extratags": options.get("extratags", ()), "photometric": "rgb"}
    keywords |= {"tile": (64, 64), "compression": "zlib"} if layout == "tiles" else {}
    tifffile.imwrite(path, data, **keywords)
    with open_tiff(path) as slide:
        read = slide.read_region(0, Box(0, 0, 410, 300)).astype(int)
        noted = [warning for warning in slide.info.warnings if "16-bit" in warning or "maximum value" in warning]
    assert np.abs(np.delete(read - tissue, 10, axis=0)).max() <= 1
    assert len(noted) == (note is not None)
    assert note is None or note in noted[0]


def test_missing_tiles_do_not_change_the_range(tissue, tmp_path) -> None:
    data = np.rint(tissue / 255 * 4095).astype(np.uint16)
    tiles = [data[top : top + 64, left : left + 64] for top in range(0, 410, 64) for left in range(0, 300, 64)]
    some = (None if number % 3 else tile for number, tile in enumerate(tiles))
    tifffile.imwrite(tmp_path / "a.tif", some, shape=data.shape, dtype="u2", tile=(64, 64), photometric="rgb")
    with open_tiff(tmp_path / "a.tif") as slide:
        read = slide.read_region(0, Box(0, 0, 64, 128)).astype(int)
    assert np.abs(read[:, :64] - tissue[:64, :64]).max() <= 1
    assert (read[:, 64:] == 255).all()


@pytest.mark.parametrize("name", ["macro", "Macro image", "case.svs [label image]", "overview", "label 2"])
@pytest.mark.parametrize("first", ["macro", "scan"])
def test_a_macro_image_with_more_pixels_is_not_the_slide(name, first, tissue, tmp_path) -> None:
    macro = np.full((500, 400, 3), 90, np.uint8)
    images = {"macro": (macro, name, 40.0), "scan": (tissue, "labeled section", 0.5)}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        for key in sorted(images, key=lambda key: key != first):
            pixels, title, um = images[key]
            size = {"PhysicalSizeX": um, "PhysicalSizeY": um}
            tiff.write(pixels, photometric="rgb", tile=(64, 64), metadata={"axes": "YXS", "Name": title, **size})
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.info.levels[0].height, slide.info.levels[0].width) == (410, 300)
        assert slide.info.pixel_size.x_um == 0.5
        assert slide.info.associated == (name.lower(),)
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 410, 300)), tissue)


@pytest.mark.parametrize(("rows", "um", "is_level"), [(205, 1.0, True), (205, 0.5, False), (405, 0.5, False)])
def test_another_scan_is_no_level_and_is_stated(rows, um, is_level, tissue, tmp_path) -> None:
    other = np.ascontiguousarray(255 - tissue[:rows, : round(rows * 300 / 410)])
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        for name, pixels, pixel_um in (("one", tissue, 0.5), ("two", other, um)):
            text = {"axes": "YXS", "Name": name, "PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
            tiff.write(pixels, photometric="rgb", tile=(64, 64), metadata=text)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.info.levels[0].height == 410
        stored = [level.height for level in slide.info.levels if not level.is_computed]
        stated = [warning for warning in slide.info.warnings if "only the largest image" in warning]
        assert (stored, len(stated)) == ([410, rows], 0) if is_level else ([410], 1)
        assert is_level or f"two ({other.shape[1]} x {rows} pixels)" in stated[0]


def test_channels_of_fluorescence_keep_names_colors_and_bits(tissue, tmp_path) -> None:
    channels = np.moveaxis(tissue, -1, 0)[:2].astype(np.uint16) * 100
    text = {
        "axes": "CYX",
        "PhysicalSizeX": 0.65,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 650.0,
        "PhysicalSizeYUnit": "nm",
        "Channel": {"Name": ["DAPI", "Cy5"], "Color": [65535, -16776961]},
    }
    tifffile.imwrite(tmp_path / "cells.ome.tif", channels, tile=(64, 64), compression="zlib", metadata=text)
    with open_slide(tmp_path / "cells.ome.tif") as slide:
        info = slide.info
        assert (info.kind, info.channels, info.colors) == ("fluorescence", ("DAPI", "Cy5"), ((0, 0, 255), (255, 0, 0)))
        assert (info.pixel_size.y_um, info.pixel_size.x_um) == pytest.approx((0.65, 0.65))
        assert info.name == "cells"
        read = slide.read_region(0, Box(-5, 0, 100, 300))
        assert read.dtype == np.uint16
        assert read[:5].max() == 0
        np.testing.assert_array_equal(read[5:], np.moveaxis(channels, 0, -1)[:95])
        assert slide.thumbnail(50).shape == (50, 37, 3)


@pytest.mark.parametrize("color", ["nan", "inf", "green"])
def test_an_invalid_color_of_a_channel_is_left_out(color: str, tissue, tmp_path) -> None:
    text = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Cy5"], "Color": [color, 65535]}}
    tifffile.imwrite(tmp_path / "cells.ome.tif", np.moveaxis(tissue, -1, 0)[:2], tile=(64, 64), metadata=text)
    with open_slide(tmp_path / "cells.ome.tif") as slide:
        assert (slide.info.channels, slide.info.colors) == (("DAPI", "Cy5"), ())


def test_focal_planes_are_left_out_with_a_warning(tissue, tmp_path) -> None:
    stack = np.stack([tissue[..., 0], tissue[..., 1]])
    tifffile.imwrite(tmp_path / "z.ome.tif", stack, metadata={"axes": "ZYX"}, tile=(64, 64))
    with open_slide(tmp_path / "z.ome.tif") as slide:
        assert "only the first of 2 focal planes is shown." in slide.info.warnings
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 410, 300))[..., 0], tissue[..., 0])


def test_levels_that_nothing_marks_are_found_by_their_shape(tissue, tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for step in (1, 2, 4):
            tiff.write(tissue[::step, ::step], photometric="rgb", tile=(64, 64), compression="zlib", metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert [level.downsample for level in slide.info.levels] == [1, 2, 4]
        np.testing.assert_array_equal(slide.read_region(1, Box(0, 0, 205, 150)), tissue[::2, ::2])


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            np.zeros((64, 64), np.complex64),
            {},
            r"^a\.tif has 64-bit complex samples .* slides must be 8- or 16-bit RGB",
        ),
        (np.zeros((64, 64, 4), np.uint8), {"photometric": "separated"}, "color space SEPARATED"),
    ],
    ids=["complex numbers", "CMYK"],
)
def test_samples_that_are_no_colors_are_refused(data, options, message, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(32, 32), **options)
    with pytest.raises(UnreadableImage, match=message):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("tile", [(64, 64), None], ids=["tiles", "rows"])
def test_floating_points_are_a_channel(tile, tissue, tmp_path) -> None:
    values = tissue[..., 0] / np.float32(256)
    values[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values, tile=tile, byteorder=">", metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        size = slide.info.levels[0]
        read = slide.read_region(0, Box(0, 0, size.height, size.width))
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read[..., 0], np.nan_to_num(values))


@pytest.mark.slow
def test_deleted_slide_releases_its_cached_tiles(write_svs, own_cache) -> None:
    slide = open_slide(write_svs())
    slide.read_for_display(0, Box(0, 0, 410, 300))
    assert own_cache.used_bytes >= 410 * 300 * 3
    del slide
    gc.collect()
    assert own_cache.used_bytes == 0


def test_a_closed_slide_and_a_missing_level_are_rejected(write_svs) -> None:
    slide = open_slide(write_svs())
    with pytest.raises(InputError, match=r"levels 0 to 2, but level 7"):
        slide.read_region(7, Box(0, 0, 1, 1))
    slide.close()
    with pytest.raises(InputError, match=r"is closed .* Open it again"):
        slide.read_region(0, Box(0, 0, 1, 1))
    slide.close()


def test_a_large_packed_strip_is_refused_before_it_is_decoded(tissue, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("napari_melanoma.slides.reading.tiff.MAX_TILE_BYTES", 1000)
    tifffile.imwrite(tmp_path / "a.tif", tissue, rowsperstrip=410, compression="zlib", photometric="rgb")
    with pytest.raises(UnreadableImage, match=r"compressed strips or tiles of 410 x 300.*Save it as a tiled TIFF"):
        open_slide(tmp_path / "a.tif")


def test_the_label_is_read_with_its_pixels(write_svs: Callable[..., Path]) -> None:
    path = write_svs()
    with open_slide(path) as slide:
        label = slide.associated_image("label")
        assert (label.shape, label.dtype) == ((60, 50, 3), np.uint8)
        assert (label == 200).all()
        with pytest.raises(InputError, match="has no image 'macro', it has thumbnail, label"):
            slide.associated_image("macro")
    with pytest.raises(InputError, match="is closed"):
        slide.associated_image("label")


def test_a_damaged_or_huge_label_image_is_an_error(
    write_svs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_svs()
    with open_slide(path) as slide:
        monkeypatch.setattr(tiff_slides, "MAX_TILE_BYTES", 60 * 50 * 3 - 1)
        with pytest.raises(UnreadableImage, match=r"'label' of slide\.svs cannot be read .*at most"):
            slide.associated_image("label")
        monkeypatch.undo()
        monkeypatch.setattr(tifffile.TiffPage, "asarray", raise_damage)
        with pytest.raises(UnreadableImage, match="it is damaged"):
            slide.associated_image("label")


def raise_damage(page: object) -> None:
    raise ValueError("corrupt data")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_label_in_gray_or_in_planes_is_rgb(tmp_path: Path, tissue: np.ndarray, planar: str) -> None:
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        tiff.write(tissue, photometric="rgb", tile=(64, 64), metadata=None)
        if planar == "separate":
            planes = np.stack([np.full((40, 30), value, np.uint8) for value in (10, 20, 30)])
            tiff.write(planes, photometric="rgb", planarconfig="separate", metadata=None)
        else:
            tiff.write(np.tile(np.array([0, 255], np.uint8), (40, 15)), photometric="minisblack", metadata=None)
    with open_slide(tmp_path / "s.tif") as slide:
        [name] = slide.info.associated
        found = slide.associated_image(name)
    assert found.shape == (40, 30, 3)
    expected = [10, 20, 30] if planar == "separate" else [255, 255, 255]
    assert found[0, 1].tolist() == expected
