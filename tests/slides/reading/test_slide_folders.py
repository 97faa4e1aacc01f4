"""Folders that contain several slides, files that cannot be read, and numbered OME-Zarr images: none is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from fake_dicom import write_level
from PIL import Image
from pydicom.uid import generate_uid
from slide_models import TILE_TEST
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.slides.reading.detection import FolderSearch, contains_slides, find_slides, is_slide
from napari_melanoma.slides.reading.opening import open_slide


def write_series(folder: Path, stem: str, series: str) -> None:
    for number, kind in enumerate(("VOLUME", "VOLUME", "LABEL")):
        path = folder / f"{stem}{number}.dcm"
        write_level(path, 64 >> number, 96 >> number, 0.0005 * 2**number, kind, SeriesInstanceUID=series)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one DICOM slide in three files."""
    (tmp_path / "case").mkdir()
    write_series(tmp_path / "case", "b", generate_uid())
    return tmp_path / "case"


def listed(*inputs: Path) -> list[str]:
    return [path.relative_to(inputs[0].parent).as_posix() for path in find_slides(inputs)]


def test_a_folder_of_one_dicom_slide_is_the_slide(folder: Path) -> None:
    (folder / "DICOMDIR").write_bytes(b"x" * 200)
    (folder / "empty.dcm").touch()
    assert is_slide(folder)
    assert listed(folder) == ["case"]
    assert listed(folder.parent)[-1].endswith("case")


def test_two_dicom_slides_in_a_folder_are_listed_and_none_is_chosen(folder: Path) -> None:
    write_series(folder, "a", generate_uid())
    assert not is_slide(folder)
    assert contains_slides(folder)
    assert listed(folder) == ["case/a0.dcm", "case/b0.dcm"]
    with pytest.raises(UnreadableImage, match=r"contains 2 DICOM slides \(a0\.dcm, b0\.dcm\), but one was expected"):
        open_slide(folder)


def test_another_slide_beside_a_dicom_slide_is_listed(folder: Path, tissue: np.ndarray) -> None:
    tifffile.imwrite(folder / "c.tif", tissue, photometric="rgb", tile=(64, 64))
    (folder / "more").mkdir()
    tifffile.imwrite(folder / "more" / "d.tif", tissue, photometric="rgb", tile=(64, 64))
    assert listed(folder) == ["case/b0.dcm", "case/c.tif", "case/more/d.tif"]
    walked = dict(FolderSearch().walk(folder))
    assert all(walked.values())
    assert folder / "b2.dcm" not in walked


def test_a_tiff_that_cannot_be_read_is_reported(tissue: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", tissue, photometric="rgb", tile=(64, 64))
    tifffile.imwrite(folder / "photograph.tif", tissue, photometric="rgb", metadata=None)
    (folder / "empty.tif").touch()
    (folder / "text.tiff").write_text("no image")
    (folder / "cut.tif").write_bytes((folder / "a.tif").read_bytes()[:6])
    Image.fromarray(tissue).save(folder / "renamed.tif", "JPEG")  # a photograph, which no one reads as a TIFF
    assert listed(folder) == ["slides/a.tif", "slides/cut.tif", "slides/empty.tif", "slides/text.tiff"]
    words = ["slide", str(folder), "--out", str(tmp_path / "out"), "--model", str(TILE_TEST), "--json"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1
    assert "empty.tif is empty (0 bytes)" in found.output


def write_image(folder: Path, tissue: np.ndarray) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.create_array("0", data=np.ascontiguousarray(np.moveaxis(tissue, -1, 0)), chunks=(3, 128, 128))
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale = {"type": "scale", "scale": [1, 0.5, 0.5]}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}]


def test_the_only_numbered_image_of_a_zarr_folder_is_opened(tissue: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "converted.zarr"
    zarr.open_group(root, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_image(root / "0", tissue)
    (root / "OME").mkdir()
    assert is_slide(root)
    assert listed(root) == ["converted.zarr/0"]
    with open_slide(root) as slide, open_slide(root / "0") as same:
        assert (slide.info.name, slide.info.path, slide.info.fingerprint) == (
            same.info.name,
            root / "0",
            same.info.fingerprint,
        )
    write_image(root / "1", tissue)
    assert not is_slide(root)
    assert contains_slides(root)
    assert listed(root) == ["converted.zarr/0", "converted.zarr/1"]
    with pytest.raises(UnreadableImage, match=r"contains 2 OME-Zarr images \(0, 1\), but one was expected"):
        open_slide(root)


def test_dark_channels_of_ome_zarr_are_fluorescence(tissue: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "bright.zarr", tissue)
    write_image(tmp_path / "dark.zarr", np.where(np.arange(410)[:, None, None] < 50, tissue, tissue // 16))
    for name, kind in (("bright", "brightfield"), ("dark", "fluorescence")):
        with open_slide(tmp_path / f"{name}.zarr") as slide:
            assert slide.info.kind == kind


def test_planes_and_images_of_ome_zarr_that_are_not_shown_are_stated(tissue: np.ndarray, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=np.stack([np.moveaxis(tissue, -1, 0)] * 3), chunks=(1, 3, 410, 300))
    axes = [{"name": "z", "type": "space"}, {"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 1, 0.5, 0.5]}]}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}] * 2
    with open_slide(tmp_path / "a.zarr") as slide:
        assert slide.info.warnings == (
            "only the first of 3 focal planes is shown.",
            "only the first of 2 images of the folder is shown.",
        )


def test_chunks_that_are_not_stored_are_stated(tissue: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", tissue)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert not slide.info.warnings
    gaps = shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    (gaps / "0" / "0.1.1").unlink()
    with open_slide(gaps) as slide:
        (warning,) = slide.info.warnings
    assert warning.startswith("parts of the image are not stored, and read as 0: 1 of 12 (level 0) chunks")
