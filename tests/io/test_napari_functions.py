"""napari's reader and writer: layers in micrometers if the scale is known, files of other readers, and masks."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.errors import SaveError, UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import read_mask, write_rgb
from napari_melanoma.ui import readers
from napari_melanoma.ui.readers import get_reader, read_layers, write_mask_layer


@pytest.fixture
def scaled(monkeypatch, scene):
    """Let every file hold the scene, with a pixel of 20 x 10 micrometers."""
    photograph = Photograph(scene, "scaled", PixelSize(20.0, 10.0, "dicom"), "dermoscopic")
    monkeypatch.setattr("napari_melanoma.io.photographs.read_photograph", lambda path, **options: photograph)
    return photograph


def test_a_photograph_without_scale_stays_in_pixels(scene, tmp_path) -> None:
    path = tmp_path / "naevus.png"
    write_rgb(path, scene)
    reader = get_reader(str(path))
    [(data, keywords, kind)] = reader(str(path))
    np.testing.assert_array_equal(data, scene)
    assert kind == "image"
    about = {"path": str(path), "modality": None, "pixel_size": None}
    assert keywords == {"name": "naevus", "rgb": True, "metadata": {"napari_melanoma": about}}


def test_a_known_scale_is_in_micrometers(scaled) -> None:
    [(_, keywords, _)] = read_layers("photo.dcm")
    assert keywords["scale"] == (20.0, 10.0)
    assert keywords["units"] == ("um", "um")
    assert keywords["metadata"]["napari_melanoma"]["pixel_size"] == scaled.pixel_size
    assert keywords["metadata"]["napari_melanoma"]["modality"] == "dermoscopic"


def test_napari_accepts_the_layers(scaled) -> None:
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

    [(data, keywords, kind)] = read_layers("photo.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = Layer.create(data, keywords, kind)
    assert isinstance(layer, ImageLayer)
    assert layer.rgb
    assert layer.ndim == 2
    assert layer.scale.tolist() == [20.0, 10.0]
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_several_photographs_become_several_layers(scene, tmp_path) -> None:
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for path, pixels in zip(paths, (scene, scene[:20]), strict=True):
        Image.fromarray(pixels).save(path)
    layers = get_reader(paths)(paths)
    assert [(data.shape[0], keywords["name"]) for data, keywords, _ in layers] == [(32, "a"), (20, "b")]


@pytest.mark.parametrize("name", ["text.png", "empty.jpg", "cut.tif", "missing.jpg"])
def test_a_bad_file_is_accepted_for_napari_to_report_it(name, tmp_path) -> None:
    path = tmp_path / name
    if name != "missing.jpg":
        path.write_bytes({"text.png": b"text", "empty.jpg": b"", "cut.tif": b"II*\0\x08\0\0\0"}[name])
    reader = get_reader(str(path))
    with pytest.raises(UnreadableImage, match=name):
        reader(str(path))


def test_files_of_other_readers_are_refused(scene, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([scene] * 2), photometric="rgb")
    (tmp_path / "slide.dcm").write_bytes(bytes(128) + b"DICM")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "stack.tif")) is None
    assert get_reader(str(tmp_path / "slide.dcm")) is None
    write_rgb(tmp_path / "photo.png", scene)
    assert get_reader([str(tmp_path / "photo.png"), str(tmp_path / "stack.tif")]) is None


@pytest.mark.parametrize(("name", "written"), [("mask.png", "mask.png"), ("mask", "mask.png")])
def test_labels_are_written_as_mask(name, written, tmp_path) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[5:8, 3:9] = 2
    assert write_mask_layer(str(tmp_path / name), labels, {"name": "Lesion"}) == [str(tmp_path / written)]
    np.testing.assert_array_equal(read_mask(tmp_path / written), labels > 0)


def test_a_mask_has_two_dimensions(tmp_path) -> None:
    with pytest.raises(SaveError, match="but the layer has 3"):
        write_mask_layer(str(tmp_path / "mask.png"), np.zeros((2, 20, 30), np.uint8), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "meta", "message"),
    [
        ([0, 1, 2], {}, r"one label, but the layer has 2 \(1, 2\).* Save the layer as \.tif"),
        ([1, 7], {}, r"has 2 \(1, 7\)"),
        (range(9), {}, r"has 8 \(1, 2, 3, 4, 5, \.\.\.\)"),
        ([0, 1], {"metadata": {"napari_melanoma": {"role": "scribbles"}}}, "holds scribbles"),
    ],
    ids=["two labels", "two labels without a background", "many", "scribbles inside alone"],
)
def test_invalid_labels_are_not_saved_as_mask(labels, meta, message, tmp_path) -> None:
    with pytest.raises(SaveError, match=message):
        write_mask_layer(str(tmp_path / "cells.png"), np.array([list(labels)]), meta)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["mask", "scribbles"])
def test_scribbles_are_distinguished_from_a_mask(role: str, tmp_path) -> None:
    from napari.layers import Labels

    layer = Labels(np.eye(20, dtype=np.uint8), metadata={"napari_melanoma": {"photograph": "a", "role": role}})
    data, meta, _ = layer.as_layer_data_tuple()
    if role == "mask":
        assert write_mask_layer(str(tmp_path / "mask.png"), data, meta) == [str(tmp_path / "mask.png")]
    else:
        with pytest.raises(SaveError, match="holds scribbles"):
            write_mask_layer(str(tmp_path / "mask.png"), data, meta)


@pytest.mark.parametrize("labels", [np.zeros((20, 30), np.int64), np.ones((20, 30), bool)], ids=["empty", "boolean"])
def test_an_empty_or_a_full_mask_is_one(labels, tmp_path) -> None:
    write_mask_layer(str(tmp_path / "mask.png"), labels, {})
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels > 0)


HEAVY = ("pydicom", "pillow_heif", "tifffile", "imagecodecs", "PIL", "pandas", "torch", "qtpy", "napari.viewer")


def test_importing_the_functions_is_light() -> None:
    code = f"import sys, {readers.__name__}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
