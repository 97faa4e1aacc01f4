"""Levels that the file lacks: averages of the finer ones, the same whichever box is asked, rough only for a viewer."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading import tiled
from napari_melanoma.slides.reading.layers import LevelArray
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import DamagedTile, DamageLog, damaged_tile_error
from napari_melanoma.slides.reading.tiff import TiffSource
from napari_melanoma.slides.reading.tiled import DownsampledLevel, TileLevel, fill_pyramid, halve_resolution


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_halving_averages_two_by_two(height: int, width: int, channels: int, dtype: type) -> None:
    tile = np.random.default_rng(height * width).integers(0, 250, (height, width, channels)).astype(dtype)
    small = halve_resolution(tile)
    assert small.shape == ((height + 1) // 2, (width + 1) // 2, channels)
    assert small.dtype == dtype
    whole = tile[: height // 2 * 2, : width // 2 * 2].astype(float)
    if whole.size:
        means = whole.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))
        most = 1e-4 if dtype == np.float32 else 0.5
        assert np.abs(small[: height // 2, : width // 2] - means).max() <= most


@pytest.mark.parametrize(
    ("sizes", "downsamples"),
    [
        ([40000], [1, 2, 4, 8, 16, 32, 64]),
        ([4000, 1000], [1, 2, 4]),
        ([4000, 2000, 1000], [1, 2, 4]),
        ([8000, 500], [1, 2, 4, 8, 16]),
        ([900], [1]),
    ],
)
def test_gaps_are_filled_down_to_the_size_of_a_screen(sizes: list[int], downsamples: list[int]) -> None:
    levels = fill_pyramid([TileLevel(size, size, 256, 256) for size in sizes])
    assert [sizes[0] / grid.height for grid, _ in levels] == pytest.approx(downsamples, rel=0.001)
    assert [built for grid, built in levels] == [isinstance(grid, DownsampledLevel) for grid, _ in levels]


@pytest.fixture
def flat(tmp_path, tissue):
    """A slide of one level of packed tiles: 1536 x 640, one level to be built."""
    image = np.tile(tissue, (4, 3, 1))[:1536, :640]
    image[1000:1100, 300:500] = (255, 0, 0)
    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64), compression="zlib", metadata=None)
    return path, image


@pytest.mark.parametrize("packing", ["packed", "plain", "odd strips"])
def test_a_built_level_is_the_average_of_the_finest(packing: str, flat, tmp_path) -> None:
    path, image = flat
    if packing != "packed":
        options = {} if packing == "plain" else {"rowsperstrip": 33, "compression": "lzw"}
        path = tmp_path / "other.tif"
        tifffile.imwrite(path, image, photometric="rgb", metadata=None, **options)
    with open_slide(path) as slide:
        assert [(level.downsample, level.is_computed) for level in slide.info.levels] == [(1, False), (2, True)]
        read = slide.read_region(1, Box(0, 0, 768, 320))
        known = image.reshape(768, 2, 320, 2, 3).mean(axis=(1, 3))
        assert np.abs(read - known).max() <= 1
        np.testing.assert_array_equal(slide.read_region(1, Box(333, 11, 200, 300)), read[333:533, 11:311])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "channels"), [(np.uint8, 1), (np.uint8, 3), (np.uint16, 1), (">u2", 3), ("<f4", 1), (">f4", 3)], ids=str
)
def test_coarse_levels_of_a_plain_file_average_columns_and_some_rows(dtype, channels: int, tmp_path) -> None:
    rows, columns = np.mgrid[:1111, :2055]
    image = np.stack([(rows // 5 + columns // 16) % 250] * channels, axis=-1).astype(dtype)
    order = ">" if dtype in (">u2", ">f4") else "<"
    options = {"photometric": "minisblack", "byteorder": order, "metadata": None}
    if channels > 1:
        options["planarconfig"] = "contig"
    tifffile.imwrite(tmp_path / "a.tif", image if channels > 1 else image[..., 0], **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert [level.downsample for level in slide.info.levels] == [1, 2, 4]
        assert channels > 1 or slide.info.channels == ("gray",)
        read = slide.read_region(2, Box(0, 0, 278, 514))
    inner = image[:1108, :2052].astype(float).reshape(277, 4, 513, 4, channels).mean(axis=(1, 3))
    jumps = np.abs(np.diff(inner, axis=1, prepend=0)) > 50  # where the picture starts again at 0
    assert np.abs(read[:277, :513] - inner)[~jumps].max() <= 1.01


def test_damage_below_a_built_level_is_raised_or_marked(flat, damage) -> None:
    path, image = flat
    damage(path, 0, 3)
    with open_slide(path) as slide:
        with pytest.raises(DamagedTile, match="level 0, row 0, column 192"):
            slide.read_region(1, Box(0, 0, 768, 320))
        shown = slide.read_for_display(1, Box(0, 0, 768, 320))
    known = image.reshape(768, 2, 320, 2, 3).mean(axis=(1, 3))
    wrong = np.abs(shown - known).max(axis=2) > 1
    assert wrong[:32, 96:128].mean() > 0.9
    assert wrong.sum() <= 32 * 32


def rough_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small slides of these tests be large ones."""
    monkeypatch.setattr(tiled, "ROUGH_PX", 64 * 64)
    monkeypatch.setattr(tiled, "ROUGH_DEPTH", 1)


def test_an_overview_is_rough_at_first_and_exact_soon_after(flat, monkeypatch) -> None:
    rough_soon(monkeypatch)
    path, _ = flat
    with open_slide(path) as exact:
        known = exact.read_region(1, Box(0, 0, 768, 320))
    with open_slide(path) as slide:
        sharp = threading.Event()
        slide.add_watcher(sharp.set)
        level = LevelArray(slide, 1)
        rough = level[...]
        assert rough.shape == known.shape
        assert np.abs(rough.mean(axis=(0, 1)) - known.mean(axis=(0, 1))).max() < 5
        assert sharp.wait(20)
        np.testing.assert_array_equal(level[...], known)


@pytest.mark.parametrize("compression", ["jpeg", "lzw", None])
def test_of_strips_some_are_read_for_the_first_picture(compression, flat, tmp_path, monkeypatch) -> None:
    rough_soon(monkeypatch)
    monkeypatch.setattr(tiled, "STRIP_PX", 640)
    monkeypatch.setattr(tiled, "ROUGH_TIME_S", 60)
    image = flat[1]
    options = {"planarconfig": "separate"} if compression is None else {"compression": compression}
    given = np.moveaxis(image, 2, 0) if compression is None else image
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, given, photometric="rgb", rowsperstrip=8, metadata=None, **options)
    plain, decoded = TiffSource._decode_segment, []

    def counted(*about):
        decoded.append(about)
        return plain(*about)

    monkeypatch.setattr(TiffSource, "_decode_segment", counted)
    with open_slide(path) as slide:
        monkeypatch.setattr(slide._exact_tile_builder, "request", lambda level, cells: None)
        level = LevelArray(slide, 1)
        rough = level[...].astype(float)
        lines = 64 * 3 + 16 * 3 + 4 * 3  # in each of three tiles, finer and finer
        assert 0 < len(decoded) <= lines * (3 if compression is None else 1)
        known = slide.read_region(1, Box(0, 0, 768, 320)).astype(float)
    assert rough.shape == known.shape
    assert np.abs(rough.mean(axis=(0, 1)) - known.mean(axis=(0, 1))).max() < 3
    across = [np.corrcoef(rough[row, :, 1], known[row : row + 4, :, 1].mean(axis=0))[0, 1] for row in range(0, 768, 64)]
    assert np.median(across) > 0.5  # it shows what is there, column by column


@pytest.mark.slow
def test_a_first_picture_ends_where_a_finer_one_would_take_too_long(flat, monkeypatch) -> None:
    rough_soon(monkeypatch)
    drawn, plain = [], tiled._tile_from_samples

    def slowly(grid, side, tile, cell):
        drawn.append(side)
        clock.append(clock[-1] + 0.01)
        return plain(grid, side, tile, cell)

    clock = [0.0]
    monkeypatch.setattr(tiled, "_tile_from_samples", slowly)
    monkeypatch.setattr(tiled, "monotonic", lambda: clock[-1])
    monkeypatch.setattr(tiled, "samples_per_side", lambda tiles, depth: 64)
    with open_slide(flat[0]) as slide:
        monkeypatch.setattr(slide._exact_tile_builder, "request", lambda level, cells: None)
        slide.read_for_display(
            1, Box(0, 0, 128, 64)
        )  # two tiles: 0.02 s a round; a clock that simulates a slow machine
        assert max(drawn) == 64
        drawn.clear()
        slide.read_for_display(1, Box(128, 64, 640, 256))  # forty tiles: 0.4 s
        assert set(drawn) == {2}


def test_a_damaged_strip_is_marked_in_the_first_picture(flat, tmp_path, monkeypatch) -> None:
    rough_soon(monkeypatch)
    monkeypatch.setattr(tiled, "STRIP_PX", 640)
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, flat[1], photometric="rgb", rowsperstrip=8, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages[0].dataoffsets[:32]
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"\0" * 16)
    with open_slide(path) as slide:
        monkeypatch.setattr(slide._exact_tile_builder, "request", lambda level, cells: None)
        shown = slide.read_for_display(1, Box(0, 0, 768, 320))
        assert shown.shape == (768, 320, 3)


def test_an_analysis_reads_exact_pixels(flat, monkeypatch) -> None:
    rough_soon(monkeypatch)
    path, image = flat
    with open_slide(path) as slide:
        known = image.reshape(768, 2, 320, 2, 3).mean(axis=(1, 3))
        assert np.abs(slide.read_region(1, Box(0, 0, 768, 320)) - known).max() <= 1
        assert slide.thumbnail(512).shape == (512, 213, 3)


def test_a_slide_that_is_closed_while_it_is_sharpened_ends_quietly(flat, monkeypatch) -> None:
    rough_soon(monkeypatch)
    slide = open_slide(flat[0])
    LevelArray(slide, 1)[...]
    slide.close()
    for thread in threading.enumerate():
        if thread.name == "slide-sharpener":
            thread.join(20)
            assert not thread.is_alive()


def test_tiles_are_still_sharpened_after_one_for_which_memory_was_too_small() -> None:
    built, done = list[tuple[int, int]](), threading.Event()

    def build(level: int, cell: tuple[int, int]) -> None:
        built.append(cell)
        if cell == (0, 1):
            raise MemoryError

    builder = tiled.ExactTileBuilder(build)
    builder.add_watcher(done.set)
    builder.request(3, [(0, 0), (0, 1)])
    assert done.wait(10)
    assert built == [(0, 1), (0, 0)]


def test_a_thumbnail_avoids_damaged_tiles_and_lists_them(flat, damage, caplog) -> None:
    path, _ = flat
    with open_slide(path) as slide:
        sound, nothing = slide.thumbnail_around_damage(192)
        np.testing.assert_array_equal(sound, slide.thumbnail(192))
    damage(path, 0, 3)
    with open_slide(path) as slide:
        with pytest.raises(DamagedTile):
            slide.thumbnail(192)
        for _ in range(2):
            picture, boxes = slide.thumbnail_around_damage(192)
    assert (nothing, boxes) == ((), (Box(0, 192, 64, 64),))
    assert len(caplog.records) == 1
    differs = np.any(picture != sound, axis=2)
    assert differs[:8, 24:32].all()
    assert differs.sum() == 64


def test_of_many_damaged_tiles_the_first_are_named(caplog) -> None:
    found = DamageLog(Path("a.svs"))
    for column in (*range(100), 0):
        found.add(damaged_tile_error(Path("a.svs"), 0, Box(0, 64 * column, 64, 64), ValueError("no JPEG")))
    assert len(caplog.records) == 21
    assert "more tiles of a.svs" in caplog.messages[-1]
    assert len(found.boxes_at(0, 1.0)) == 100
    assert not found.boxes_at(1, 2.0)
