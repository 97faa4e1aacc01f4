"""OME-Zarr of heatmap and lesions: the form of version 0.5, values to 1/65534, and our own reader opens it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.reports.ome_zarr import (
    LabelLayer,
    OmeVersion,
    decode_probability,
    encode_probability,
    write_ome_zarr,
)
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.reading.opening import open_slide

PLACE = MapPlacement(64.0, 32.0, 16.0, 8.0, PixelSize(0.5, 0.25))


def maps(rows: int = 300, columns: int = 520) -> SlideMaps:
    values = np.random.default_rng(0).random((2, rows, columns)).astype(np.float32)
    values[:, :40] = np.nan
    return SlideMaps(values, PLACE)


def test_probabilities_come_back_and_the_unknown_stays_unknown() -> None:
    values = np.array([np.nan, 0.0, 0.25, 0.5, 1.0], np.float32)
    back = decode_probability(encode_probability(values))
    assert np.isnan(back[0])
    np.testing.assert_allclose(back[1:], values[1:], atol=1 / 65534)
    assert encode_probability(values)[[0, 1, -1]].tolist() == [0, 1, 65535]


def test_the_folder_has_the_form_of_version_0_5(tmp_path: Path) -> None:
    labels = np.zeros((300, 520), np.uint16)
    labels[100:120, 100:150] = 7
    path = tmp_path / "heat.ome.zarr"
    about = [{"label-value": 7, "label": "malignant"}]
    write_ome_zarr(path, maps(), ("benign", "melanoma"), LabelLayer("lesions", labels, PLACE, {7: (200, 0, 0)}, about))
    group = zarr.open_group(path, mode="r")
    message = group.attrs["ome"]
    assert message["version"] == "0.5"
    (scales,) = message["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["c", "y", "x"]
    assert [axis.get("unit") for axis in scales["axes"]] == [None, "micrometer", "micrometer"]
    assert [one["path"] for one in scales["datasets"]] == ["0", "1", "2"]
    scale, translation = scales["datasets"][1]["coordinateTransformations"]
    assert (scale["scale"], translation["type"]) == ([1.0, 16.0, 4.0], "translation")
    assert translation["translation"] == [0.0, *MapPlacement(64.0, 32.0, 32.0, 16.0, PLACE.pixel_size).translate]
    assert [channel["label"] for channel in message["omero"]["channels"]] == ["benign", "melanoma"]
    assert [group[name].shape for name in "012"] == [(2, 300, 520), (2, 150, 260), (2, 75, 130)]
    assert group["labels"].attrs["ome"]["labels"] == ["lesions"]
    own = group["labels/lesions"]
    assert own.attrs["ome"]["image-label"]["colors"] == [{"label-value": 7, "rgba": [200, 0, 0, 255]}]
    assert own.attrs["ome"]["image-label"]["properties"] == about
    assert [own[name].shape for name in "012"] == [(1, 300, 520), (1, 150, 260), (1, 75, 130)]
    np.testing.assert_array_equal(own["0"][0], labels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_models_accepts_image_and_labels(tmp_path: Path, version: OmeVersion) -> None:
    path, labels = tmp_path / "heat.ome.zarr", np.zeros((300, 520), np.uint16)
    labels[100:120, 100:150] = 7
    layer = LabelLayer("lesions", labels, PLACE, {7: (200, 0, 0)}, [{"label-value": 7, "label": "malignant"}])
    write_ome_zarr(path, maps(), ("benign", "melanoma"), layer, version)
    with open_slide(path) as slide:
        assert slide.info.channels == ("benign", "melanoma")
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    assert (path / "0/0/0/0" if version == "0.4" else path / "0/c/0/0/0").is_file()
    pytest.importorskip("ome_zarr_models", reason="ome-zarr-models is not installed: pip install ome-zarr-models")
    if version == "0.5":
        from ome_zarr_models import open_ome_zarr

        image, own = open_ome_zarr(group), open_ome_zarr(group["labels/lesions"])
        assert [type(one).__name__ for one in (image, own)] == ["Image", "ImageLabel"]
        assert [one.ome_zarr_version for one in (image, own)] == [version, version]
    else:  # its models of whole groups need an older pydantic
        from ome_zarr_models.v04.image import ImageAttrs
        from ome_zarr_models.v04.image_label import ImageLabelAttrs
        from ome_zarr_models.v04.labels import LabelsAttrs

        assert ImageAttrs.model_validate(group.attrs.asdict()).multiscales[0].version == version
        assert LabelsAttrs.model_validate(group["labels"].attrs.asdict()).labels == ["lesions"]
        own = ImageLabelAttrs.model_validate(group["labels/lesions"].attrs.asdict())
        assert own.image_label.version == version


def test_levels_are_means_of_known_pixels(tmp_path: Path) -> None:
    values = np.full((1, 300, 300), 0.5, np.float32)
    values[0, 1::2] = np.nan
    write_ome_zarr(tmp_path / "a.ome.zarr", SlideMaps(values, PLACE), ("p",))
    second = decode_probability(np.asarray(zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["1"]))
    np.testing.assert_allclose(second, 0.5, atol=1e-4)


def test_our_own_reader_opens_it(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.ome.zarr", maps(), ("benign", "melanoma"))
    with open_slide(tmp_path / "a.ome.zarr") as slide:
        assert slide.info.channels == ("benign", "melanoma")
        assert slide.info.pixel_size is not None
        assert (slide.info.pixel_size.y_um, slide.info.pixel_size.x_um) == (8.0, 2.0)
        assert (slide.info.levels[0].height, slide.info.levels[0].width) == (300, 520)


def test_without_a_scale_no_unit_is_claimed(tmp_path: Path) -> None:
    write_ome_zarr(
        tmp_path / "a.ome.zarr", SlideMaps(maps().probability, MapPlacement(0.0, 0.0, 16.0, 16.0)), ("a", "b")
    )
    (scales,) = zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs["ome"]["multiscales"]
    assert all("unit" not in axis for axis in scales["axes"])


def test_a_file_is_not_replaced_by_a_store(tmp_path: Path) -> None:
    (tmp_path / "a.ome.zarr").write_text("mine")
    with pytest.raises(SaveError):
        write_ome_zarr(tmp_path / "a.ome.zarr", maps(), ("a", "b"))
    assert (tmp_path / "a.ome.zarr").read_text() == "mine"
