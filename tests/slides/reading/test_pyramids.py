"""Levels of padded pyramids lie on top of each other; slides that are not stored upright are shown upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
import zarr
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from napari_melanoma.core.geometry import Box
from napari_melanoma.reports import slide_export
from napari_melanoma.slides.reading import openslide
from napari_melanoma.slides.reading.layers import make_slide_layers
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.pyramids import remove_padding, stated_downsample
from napari_melanoma.slides.reading.tiled import TileLevel

TILE, SIZE, STEPS = 64, (904, 1400), (1, 2, 4, 8)
EDGES = (248, 408, 720, 1208)  # of a dark rectangle: top, left, bottom, right; multiples of all steps


def picture(size: tuple[int, int] = SIZE, edges: tuple[int, int, int, int] = EDGES) -> np.ndarray:
    rgb = np.full((*size, 3), 235, np.uint8)
    rgb[edges[0] : edges[2], edges[1] : edges[3]] = (90, 40, 110)
    return rgb


def padded_level(rgb: np.ndarray, step: int) -> np.ndarray:
    """A level as scanners store it: padded with white to whole tiles, except the finest."""
    level = np.ascontiguousarray(rgb[::step, ::step])
    padding = [(0, -side % TILE) if step > 1 else (0, 0) for side in level.shape[:2]]
    return np.pad(level, (*padding, (0, 0)), constant_values=255)


def write_tiff(path: Path, rgb: np.ndarray, states_scale: bool) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for step in STEPS:
            pixels_per_cm = 20000 / (step if states_scale else 1)
            tiff.write(
                padded_level(rgb, step),
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                metadata=None,
                subfiletype=0 if step == 1 else 1,
                resolution=(pixels_per_cm, pixels_per_cm),
                resolutionunit="CENTIMETER",
            )
    return path


def write_ome_zarr(path: Path, rgb: np.ndarray) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets: list[dict[str, Any]] = []
    for step in STEPS:
        level = np.moveaxis(padded_level(rgb, step), -1, 0)
        group.create_array(str(step), shape=level.shape, dtype="uint8", chunks=(3, 128, 128))[...] = level
        scale = {"type": "scale", "scale": [1, 0.5 * step, 0.5 * step]}
        datasets.append({"path": str(step), "coordinateTransformations": [scale]})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return path


def write_dicom(folder: Path, rgb: np.ndarray) -> Path:
    series = generate_uid()
    folder.mkdir()
    for number, step in enumerate(STEPS):
        write_dicom_level(folder / f"{number}.dcm", padded_level(rgb, step), series, step)
    return folder


def write_dicom_level(path: Path, rgb: np.ndarray, series: str, step: int, aspect: float = 1) -> None:
    height, width = rgb.shape[:2]
    whole = np.pad(rgb, ((0, -height % TILE), (0, -width % TILE), (0, 0)), constant_values=255)
    corners = [(row, column) for row in range(0, height, TILE) for column in range(0, width, TILE)]
    tiles = [np.ascontiguousarray(whole[row : row + TILE, column : column + TILE]) for row, column in corners]
    measures, shared, level = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.0005 * step * aspect, 0.0005 * step]
    shared.PixelMeasuresSequence = [measures]
    level.file_meta = FileMetaDataset()
    level.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    level.SOPClassUID = level.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    level.SOPInstanceUID = level.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    level.StudyInstanceUID = level.SeriesInstanceUID = series
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"] if step == 1 else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    level.Modality, level.ImageType, level.DimensionOrganizationType = "SM", kind, "TILED_FULL"
    level.Rows = level.Columns = TILE
    level.TotalPixelMatrixRows, level.TotalPixelMatrixColumns, level.NumberOfFrames = height, width, len(tiles)
    level.TotalPixelMatrixFocalPlanes = level.NumberOfOpticalPaths = 1
    level.SamplesPerPixel, level.PhotometricInterpretation, level.PlanarConfiguration = 3, "YBR_FULL_422", 0
    level.BitsAllocated = level.BitsStored = 8
    level.HighBit, level.PixelRepresentation, level.SharedFunctionalGroupsSequence = 7, 0, [shared]
    level.PixelData = encapsulate([imagecodecs.jpeg8_encode(tile, level=98) for tile in tiles])
    level["PixelData"].VR, level["PixelData"].is_undefined_length = "OB", True
    pydicom.dcmwrite(path, level, enforce_file_format=True)


def edges_in(pixels: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(pixels[..., 1] < 140)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


WRITERS = {
    "TIFF that states the scale of each level": lambda folder: write_tiff(folder / "a.tif", picture(), True),
    "TIFF with the same scale in all levels": lambda folder: write_tiff(folder / "a.tif", picture(), False),
    "OME-Zarr": lambda folder: write_ome_zarr(folder / "a.ome.zarr", picture()),
    "DICOM": lambda folder: write_dicom(folder / "dicom", picture()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_edges_coincide_on_all_levels_of_a_padded_pyramid(name: str, tmp_path: Path) -> None:
    with open_slide(WRITERS[name](tmp_path)) as slide:
        levels = slide.info.levels
        assert [level.downsample for level in levels if not level.is_computed] == list(STEPS)
        shown = make_slide_layers(slide)[0][0]
        for index, level in enumerate(levels):
            pixels = slide.read_region(index, Box(0, 0, level.height, level.width))
            found = np.array(edges_in(pixels))
            np.testing.assert_allclose(found * level.downsample, EDGES, atol=1)
            # napari derives the scale of a level from its shape.
            factors = [whole / part for whole, part in zip(shown[0].shape[:2], shown[index].shape[:2], strict=True)]
            np.testing.assert_allclose(found * [*factors, *factors], EDGES, atol=1)


@pytest.mark.parametrize("exchanged", [False, True])
def test_height_and_width_of_a_dicom_pixel_are_not_exchanged(
    exchanged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dicom_level(tmp_path / "a.dcm", picture(), generate_uid(), 1, aspect=2)
    if exchanged:  # as by OpenSlide 4.0.0
        sizes = {"openslide.mpp-x": 1.0, "openslide.mpp-y": 0.5}
        monkeypatch.setattr(openslide, "_number_property", lambda properties, name: sizes.get(name))
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.info.pixel_size is not None
        assert (slide.info.pixel_size.y_um, slide.info.pixel_size.x_um) == (1.0, 0.5)


@pytest.mark.parametrize("states_scale", [True, False])
def test_a_square_slide_with_equal_padding_is_recognized(states_scale: bool, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", picture((1000, 1000), (80, 160, 640, 880)), states_scale)
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.info.levels] == [1, 2, 4, 8]
        assert [level.height for level in slide.info.levels] == [1000, 500, 250, 125]


SIZES = {
    "sizes rounded down": ((1001, 1403), (250, 350), None, (250, 350)),
    "a factor that is no whole number": ((1000, 1500), (400, 600), None, (400, 600)),
    "a third, by chance in whole tiles": ((768, 1536), (256, 512), None, (256, 512)),
    "padded, of an odd size": ((1001, 1403), (256, 384), None, (251, 351)),
    "padded to something other than tiles": ((1000, 1400), (250, 360), None, (250, 350)),
    "the spacing of the finest level in all": ((1000, 1400), (500, 700), 1.0, (500, 700)),
    "nearly a whole factor, and stated as one": ((3980, 7960), (1000, 2000), 4.0, (1000, 2000)),
    "padded alike, stated": ((1024, 1024), (256, 256), 8.0, (256, 256)),
    "a stated factor of padded sizes": ((900, 900), (192, 192), 6.0, (150, 150)),
}


@pytest.mark.parametrize("name", SIZES)
def test_size_of_a_level_without_padding(name: str) -> None:
    full, stored, stated, expected = SIZES[name]
    level = TileLevel(*stored, TILE, TILE)
    remove_padding([TileLevel(*full, TILE, TILE), level], [1.0, stated])
    assert (level.height, level.width) == expected


def test_the_downsample_by_pixel_sizes_is_whole_if_it_is_close() -> None:
    assert stated_downsample((0.000499, 0.000499), (0.001996, 0.001997)) == 4
    assert stated_downsample((0.25, 0.25), (0.625, 0.625)) == 2.5
    assert stated_downsample((0.25, 0.25), (0.5, 1.0)) is None
    assert stated_downsample((0.25, None), (0.5, None)) is None


def test_a_dicom_segmentation_covers_the_image_of_a_padded_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_export, "MAX_SIDE_PX", 200)
    level = slide_export.find_dicom_level(write_dicom(tmp_path / "dicom", picture()))
    assert (level.height, level.width, level.downsample) == (128, 192, 8)


# TIFF 6.0: what the first row and the first column of the stored image are.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}
STORAGE = {
    "tiles": {"tile": (64, 80), "compression": "zlib"},
    "strips": {"rowsperstrip": 16, "compression": "zlib"},
    "one block": {},
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("storage", STORAGE)
def test_slides_of_any_orientation_are_upright(orientation: int, storage: str, tissue: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"photometric": "rgb", "metadata": None, **STORAGE[storage]}
    how |= {"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}  # pixels are 0.5 um wide and 0.25 um high
    tifffile.imwrite(tmp_path / "a.tif", tissue, extratags=[(274, "H", 1, orientation, True)], **how)
    upright = UPRIGHT[orientation](tissue)
    with open_slide(tmp_path / "a.tif") as slide:
        full, size = slide.info.levels[0], slide.info.pixel_size
        assert (full.height, full.width) == upright.shape[:2]
        assert (size.y_um, size.x_um) == pytest.approx((0.25, 0.5) if orientation < 5 else (0.5, 0.25))
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, *upright.shape[:2])), upright)
        np.testing.assert_array_equal(slide.read_region(0, Box(33, 70, 150, 121)), upright[33:183, 70:191])


def test_coarser_levels_of_a_rotated_slide_are_upright(tmp_path: Path) -> None:
    rgb = picture((1500, 1204), (100, 300, 500, 1100))
    tifffile.imwrite(
        tmp_path / "a.tif", rgb, photometric="rgb", metadata=None, tile=(256, 256), extratags=[(274, "H", 1, 6, True)]
    )
    with open_slide(tmp_path / "a.tif") as slide:
        coarse = slide.info.levels[-1]
        assert (coarse.height, coarse.width, coarse.is_computed) == (602, 750, True)
        pixels = slide.read_region(len(slide.info.levels) - 1, Box(0, 0, coarse.height, coarse.width))
    upright = Image.fromarray(np.rot90(rgb, -1)).reduce(2)
    assert edges_in(pixels) == edges_in(np.asarray(upright)) == (150, 500, 550, 700)
