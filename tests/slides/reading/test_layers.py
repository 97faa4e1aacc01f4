"""What napari gets of a slide: lazy levels with chunks, micrometers, its place, channels in their colors."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.slides.reading.layers import LevelArray, make_slide_layers
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.reading.tiled import TiledSlide, TileSource, fill_pyramid
from napari_melanoma.ui.readers import read_layers

KEYS = [
    np.s_[...],
    np.s_[10:200, 30:40],
    np.s_[10:200:7, ::3],
    np.s_[5],
    np.s_[-1, -1],
    np.s_[:, 7, 1],
    np.s_[..., 2],
    np.s_[0:0, 5:9],
    np.s_[400:9999, 290:],
    np.s_[3:9, ..., 0],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_level_is_sliced_as_an_array_is(key, write_svs) -> None:
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        whole = slide.read_region(0, Box(0, 0, 410, 300))
        np.testing.assert_array_equal(level[key], whole[key])


def test_display_colors_do_not_change_slide_pixels(write_svs) -> None:
    colors = DisplayColors(stain="eosin_he", contrast=1.5)
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        scan = slide.read_region(0, Box(0, 0, 64, 64))
        level.colors = colors
        np.testing.assert_array_equal(level[:64, :64], colors.apply(scan))
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 64, 64)), scan)


def test_a_box_is_read_as_a_square(write_svs) -> None:
    with open_slide(write_svs()) as slide:
        square = slide.read_square(Box(10, 20, 200, 100), 50)
        exact = slide.read_region(0, Box(10, 20, 200, 100))
    assert (square.shape, square.dtype) == ((50, 50, 3), np.uint8)
    np.testing.assert_allclose(square.mean(axis=(0, 1)), exact.mean(axis=(0, 1)), atol=3)


def test_level_array_has_the_attributes_that_napari_needs(write_svs) -> None:
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        assert (level.shape, level.ndim, level.dtype, level.chunks) == ((410, 300, 3), 3, np.uint8, (64, 64, 3))
        assert (len(level), level.size, level.nbytes) == (410, 410 * 300 * 3, 410 * 300 * 3)
        assert np.asarray(level).shape == level.shape
        assert np.asarray(level, dtype=np.float32).dtype == np.float32
        with pytest.raises(IndexError):
            level[410]
        with pytest.raises(IndexError, match="positive steps only"):
            level[::-1]


def test_a_slide_is_a_layer_in_micrometers(write_svs) -> None:
    from napari.layers import Image, Layer

    path = write_svs(mpp="0.4")
    [(levels, keywords, kind)] = read_layers(str(path))
    about = keywords["metadata"]["napari_melanoma"]
    assert about["role"] == "slide"
    assert about["path"] == str(path)
    assert about["info"] is about["slide"].info
    assert keywords["scale"] == (0.4, 0.4)
    assert keywords["translate"] == (0, 0)
    layer = Layer.create(levels, keywords, kind)
    assert isinstance(layer, Image)
    assert layer.multiscale
    assert layer.rgb
    assert layer.name == "slide"
    assert layer.contrast_limits == [0, 255]
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    assert layer.extent.world[1] == pytest.approx([409 * 0.4, 299 * 0.4], abs=0.2)


def test_results_without_a_scale_are_in_pixels(tissue, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", tissue, photometric="rgb", tile=(64, 64), metadata=None)
    with pytest.warns(UserWarning, match=r"a\.tif: the file states no pixel size, so lengths are in pixels\. Set it"):
        [(_, keywords, _)] = read_layers(str(tmp_path / "a.tif"))
    assert "scale" not in keywords
    assert "units" not in keywords
    assert keywords["metadata"]["napari_melanoma"]["pixel_size"] is None


def test_channels_become_layers_that_add_up(tissue, tmp_path) -> None:
    from napari.layers import Layer

    channels = np.moveaxis(tissue, -1, 0)[:2]
    message = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    message |= {"Channel": {"Name": ["DAPI", "FITC"], "Color": [65535, 16711935]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", channels, tile=(64, 64), metadata=message)
    layers = read_layers(str(tmp_path / "a.ome.tif"))
    assert [keywords["name"] for _, keywords, _ in layers] == ["a DAPI", "a FITC"]
    made = [Layer.create(*layer) for layer in layers]
    assert [layer.blending for layer in made] == ["additive", "additive"]
    assert [layer.colormap.colors[-1, :3].tolist() for layer in made] == [[0, 0, 1], [0, 1, 0]]
    for index, (levels, keywords, _) in enumerate(layers):
        np.testing.assert_array_equal(levels[0][:64, :64], channels[index, :64, :64])
        low, high = keywords["contrast_limits"]
        assert 0 <= low < high <= 255


class Painted(TileSource):
    """Every pixel encodes its position."""

    def read_tile(self, row: int, column: int) -> np.ndarray:
        height, width = self.size_of(row, column)
        rows, columns = np.mgrid[:height, :width]
        place = ((rows + row * 64) // 8, (columns + column * 64) // 8, 0 * rows)
        return np.stack(place, axis=-1).astype(np.uint8)


def test_unscanned_borders_are_cropped_without_a_shift() -> None:
    levels = fill_pyramid([Painted(1200, 1600, 64, 64)])
    sizes = tuple(LevelInfo(grid.height, grid.width, 1200 / grid.height, built) for grid, built in levels)
    info = SlideInfo(Path("a.mrxs"), "a", "MRXS", sizes, PixelSize(0.5, 0.25, "file"), bounds=Box(401, 803, 300, 200))
    slide = TiledSlide(info, [grid for grid, _ in levels], np.uint8)
    [(shown, keywords, _)] = make_slide_layers(slide)
    assert keywords["translate"] == (400 * 0.5, 802 * 0.25)
    assert shown[0].shape == (301, 201, 3)
    assert shown[0][0, 0, 0] == 400 // 8
    assert shown[0][0, 0, 1] == 802 // 8
    assert shown[1].shape == (151, 101, 3)
    slide.close()


def test_a_moving_view_computes_the_colors_of_new_tiles_only(write_svs, monkeypatch) -> None:
    colors = DisplayColors(stain="hematoxylin_he")
    computed: list[int] = []
    apply = DisplayColors.apply

    def count(self, rgb):
        computed.append(rgb.shape[0] * rgb.shape[1])
        return apply(self, rgb)

    monkeypatch.setattr(DisplayColors, "apply", count)
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        scan, tile = level[...], level.chunks[0]
        level.colors = colors
        for top, left in ((0, 0), (0, 5), (tile, 5), (tile, 0), (3, 2)):
            part = slice(top, top + 2 * tile), slice(left, left + tile)
            np.testing.assert_array_equal(level[part], apply(colors, scan[part]))
        computed.clear()
        level[:tile, :tile], level[: 2 * tile, :tile]
        assert sum(computed) == scan[: 2 * tile, :tile].shape[0] * tile
        computed.clear()
        level.colors = DisplayColors(stain="eosin_he")
        np.testing.assert_array_equal(level[:tile, :tile], apply(level.colors, scan[:tile, :tile]))
        assert sum(computed) == tile * tile


def test_colors_that_change_while_tiles_are_read_are_not_mixed(write_svs, monkeypatch) -> None:
    first, second = DisplayColors(stain="hematoxylin_he"), DisplayColors(stain="eosin_he")
    apply = DisplayColors.apply
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        scan = level[...]
        level.colors = first

        def change(self, rgb):
            level.colors = second
            return apply(self, rgb)

        monkeypatch.setattr(DisplayColors, "apply", change)
        tile = level.chunks[0]
        np.testing.assert_array_equal(level[: 2 * tile], apply(first, scan[: 2 * tile]))
        np.testing.assert_array_equal(level[: 2 * tile], apply(second, scan[: 2 * tile]))


def test_colored_tiles_are_freed_with_the_colors_and_not_kept_of_a_large_request(write_svs, monkeypatch) -> None:
    with open_slide(write_svs()) as slide:
        level = LevelArray(slide, 0)
        level.colors = DisplayColors(stain="eosin_he")
        level[:64, :64]
        assert level._colored
        level.colors = DisplayColors()
        assert not level._colored
        level.colors = DisplayColors(stain="eosin_he")
        monkeypatch.setattr("napari_melanoma.slides.reading.layers.MAX_COLORED_PIXELS", 64 * 64)
        level[:128, :64]
        assert not level._colored
