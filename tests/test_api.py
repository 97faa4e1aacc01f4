"""The public Python API: what a notebook does with it, on phantoms and on random weights."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from slide_models import SKIN_TEST, TILE_TEST, install_slide_models

import napari_melanoma as nm
from napari_melanoma.api import inputs
from napari_melanoma.classification import explanation
from napari_melanoma.core.config import write_toml
from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.imaging import modality
from napari_melanoma.io.results import write_labels, write_rgb, write_table
from napari_melanoma.lesion.segmentation import SegmentationModel, Segmenter
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import using_backend
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

STUB = Path(nm.__file__).with_name("__init__.pyi")


def listed() -> set[str]:
    """The names that the stub imports."""
    nodes = ast.walk(ast.parse(STUB.read_text(encoding="utf-8")))
    return {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_listed_name_is_there() -> None:
    assert {*nm.__all__, "tools"} == listed() == set(dir(nm)) - {"__version__"}
    assert "napari_melanoma.tools" in nm.__doc__, "help shows only names of __all__"
    for name in nm.__all__:
        assert getattr(nm, name).__doc__
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'\. The public names are listed in"):
        nm.nonsense  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'segmnt'\. Did you mean 'segment'\?"):
        nm.segmnt  # noqa: B018


def test_the_import_loads_nothing_heavy() -> None:
    program = "import sys, napari_melanoma; print(sorted({'numpy', 'torch', 'pandas', 'napari'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def lesion() -> tuple[np.ndarray, np.ndarray]:
    """A synthetic photograph and its true mask."""
    drawn = lesion_phantom(LesionPhantomConfig(seed=3))
    return drawn.rgb, drawn.mask


GRAY = np.linspace(0, 255, 12, dtype=np.uint8).reshape(3, 4)
ARRAYS = {
    "uint8": np.stack([GRAY] * 3, axis=2),
    "gray": GRAY,
    "opaque": np.stack([GRAY, GRAY, GRAY, np.full_like(GRAY, 255)], axis=2),
    "uint16": np.stack([GRAY.astype(np.uint16) * 257] * 3, axis=2),
    "big-endian uint16": np.stack([GRAY.astype(">u2") * 257] * 3, axis=2),
    "big-endian float": np.stack([(GRAY / 255).astype(">f4")] * 3, axis=2),
    "uint16 with 8-bit values": np.stack([GRAY.astype(np.uint16)] * 3, axis=2),
    "uint16 with 12-bit values": np.stack([np.rint(GRAY * (4095 / 255)).astype(np.uint16)] * 3, axis=2),
    "float": np.stack([GRAY / 255] * 3, axis=2),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_type_become_the_same_photograph(name: str) -> None:
    photograph = nm.read_photograph(ARRAYS[name], pixel_size_um=(20, 25))
    np.testing.assert_array_equal(photograph.rgb, ARRAYS["uint8"])
    assert photograph.pixel_size is not None
    assert (photograph.pixel_size.y_um, photograph.pixel_size.x_um) == photograph.pixel_size_um == (20, 25)
    assert nm.read_photograph(ARRAYS[name]).pixel_size_um is None
    assert bool(photograph.notes) == ("-bit values" in name)


class Tensor:
    """As a tensor of torch, of which only these parts are used."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.ndim = values, values.ndim

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def is_floating_point(self) -> bool:
        return self.values.dtype.kind == "f"

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32))

    def numpy(self) -> np.ndarray:
        return self.values


Tensor.__module__ = "torch"
RAMP = ARRAYS["uint8"]


@pytest.mark.parametrize(
    "source",
    [
        Image.fromarray(RAMP),
        Image.fromarray(GRAY),
        Image.fromarray(np.dstack([RAMP, np.full_like(GRAY, 255)])),
        Tensor(np.moveaxis(RAMP, -1, 0)),
        Tensor(np.moveaxis(RAMP, -1, 0) / 255),
        Tensor(GRAY[None]),
        Tensor(np.repeat(RAMP, 4, axis=0)[::4]),
    ],
    ids=["PIL", "gray PIL", "opaque PIL", "channels first", "floating point", "gray tensor", "channels last"],
)
def test_images_of_pillow_and_tensors_become_photographs(source) -> None:
    if isinstance(source, Tensor) and source.values.shape == RAMP.shape:
        source, expected = Tensor(np.repeat(RAMP, 4, axis=0)), np.repeat(RAMP, 4, axis=0)
    else:
        expected = RAMP
    np.testing.assert_array_equal(nm.read_photograph(source).rgb, expected)


def test_images_of_pillow_are_turned_upright(tmp_path: Path) -> None:
    image, exif = Image.fromarray(np.kron(RAMP, np.ones((8, 8, 1), np.uint8))), Image.Exif()
    exif[0x0112] = 6  # orientation
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        found = nm.read_photograph(turned).rgb
    np.testing.assert_array_equal(found, nm.read_photograph(tmp_path / "turned.png").rgb)
    assert found.shape == (32, 24, 3)


def test_a_real_tensor_is_accepted() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(RAMP, -1, 0)))
    np.testing.assert_array_equal(nm.read_photograph(tensor).rgb, RAMP)
    half = (tensor.float() / 255).requires_grad_().to(torch.float16)
    assert np.abs(nm.read_photograph(half).rgb.astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("white", [255, 65535])
def test_opacity_of_which_nothing_is_visible_is_ignored_in_arrays_as_in_files(white: int, tmp_path: Path) -> None:
    dtype = np.uint8 if white == 255 else np.uint16
    rgba = np.dstack([np.random.default_rng(0).integers(0, white + 1, (40, 50, 3)), np.zeros((40, 50))]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    array, file = nm.read_photograph(rgba), nm.read_photograph(tmp_path / "a.tif")
    np.testing.assert_array_equal(array.rgb, file.rgb)
    assert array.notes == file.notes
    assert "transparent" in file.notes[0]


def test_transparent_pixels_are_white() -> None:
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0, 3] = 255
    assert (nm.read_photograph(clear).rgb[..., 0] == [[0, 255], [255, 255]]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"found \(4, 4, 2\)\.$"),
        (
            np.zeros((3, 60, 80), np.uint8),
            r"found \(3, 60, 80\)\. Move the channels last: np\.moveaxis",
        ),
        (np.zeros((0, 4, 3), np.uint8), r"one pixel or more; found \(0, 4, 3\)"),
        (np.full((4, 4), 3.0), r"found values from 3 to 3\. If they are 0 to 255, pass image / 255\."),
        (np.full((4, 4), -1.0), r"found values from -1 to -1\. Scale them to that range\.$"),
        (np.full((4, 4), 1.000001), r"found values from 1\.000001 to .* pass np\.clip\(image, 0, 1\)\.$"),
        (np.full((4, 4), np.nan), r"found NaN or infinite values\. Replace them: np\.nan_to_num"),
        (np.zeros((4, 4), np.int64), r"found int64\. .*pass image\.astype\(np\.uint8\)"),
    ],
)
def test_arrays_that_are_no_image_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(nm.MelanomaError, match=message):
        nm.read_photograph(array)


def test_a_lesion_is_segmented_measured_and_saved(lesion, tmp_path: Path) -> None:
    rgb, truth = lesion
    reports: list[nm.Progress] = []
    found = nm.segment(rgb, pixel_size_um=25, progress=reports.append)
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.9
    assert found.probability.shape == truth.shape
    assert found.measurements["area_mm2"] == pytest.approx(found.mask.sum() * 0.025**2)
    assert found.roi is not None
    assert found.contours
    table = found.to_pandas().set_index("name")
    assert table.loc["area_mm2", "unit"] == "mm²"
    assert (found.save(tmp_path / "result") / "result.json").is_file()
    assert (found.overlay() != rgb).any()
    assert repr(found.measurements).startswith(f"LesionMeasurements(values={len(found.measurements)}, area_px=")
    lesion_px, threshold = int(found.mask.sum()), f"threshold={found.threshold:g}"
    start = f"Segmentation(shape={truth.shape}, lesion_px={lesion_px}, {threshold}, valid={found.valid}"
    assert repr(found).startswith(start)
    assert repr(nm.read_photograph(rgb)) == f"Photograph(name='image', shape={rgb.shape})"


def test_a_reason_against_a_mask_is_stated_once() -> None:
    found = nm.segment(np.random.default_rng(0).integers(0, 255, (100, 120, 3), dtype=np.uint8))
    assert not found.valid
    assert [text for text in found.warnings if "photograph of a skin lesion" in text] == [
        "This does not look like a photograph of a skin lesion: its mask may be meaningless."
    ]


@pytest.mark.slow
def test_several_photographs_are_segmented_in_batches(lesion, tmp_path: Path) -> None:
    rgb, _ = lesion
    flipped = np.ascontiguousarray(rgb[::-1])
    Image.fromarray(flipped).save(tmp_path / "b.png")
    reports: list[nm.Progress] = []
    found = nm.segment([rgb, tmp_path / "b.png", Image.fromarray(rgb)], batch_size=2, progress=reports.append)
    alone = [nm.segment(image) for image in (rgb, flipped, rgb)]
    for batched, single in zip(found, alone, strict=True):
        np.testing.assert_allclose(batched.probability, single.probability, atol=1e-5)
        assert batched.measurements["area_px"] == pytest.approx(single.measurements["area_px"], rel=1e-3)
    assert [(one.done, one.total) for one in reports[-3:]] == [(1, 3), (2, 3), (3, 3)]
    stack = np.stack([rgb, flipped])
    for several in (stack, Tensor(np.moveaxis(stack, -1, 1)), iter(stack)):
        assert [one.mask.sum() for one in nm.segment(several)] == [one.mask.sum() for one in alone[:2]]
    spread = nm.segment([rgb], flips=True)[0].probability
    np.testing.assert_allclose(spread, nm.segment(rgb, flips=True).probability, atol=1e-5)
    assert nm.segment([]) == []


@pytest.mark.slow
def test_photographs_are_read_when_their_batch_begins(lesion) -> None:
    read: list[int] = []

    def images():
        for number in range(3):
            read.append(number)
            yield lesion[0]

    segmentations = nm.iter_segment(images(), batch_size=2)
    assert read == []
    assert next(segmentations).mask.any()
    assert read == [0, 1]
    assert len(list(segmentations)) == 2


@pytest.mark.slow
def test_an_unreadable_photograph_is_raised_last_or_skipped(lesion, tmp_path: Path) -> None:
    write_rgb(tmp_path / "mole.png", lesion[0])
    photographs = [lesion[0], tmp_path / "mole.png", tmp_path / "missing.png", lesion[0]]
    found = nm.iter_segment(photographs, batch_size=4)
    assert [next(found).mask.any(), next(found).name] == [True, "mole"]
    with pytest.raises(nm.UnreadableImage):
        next(found)
    with pytest.warns(UserWarning, match=r"Image 3 was skipped: .*missing\.png"):
        assert len(list(nm.iter_segment(photographs, batch_size=2, on_error="skip"))) == 3
    reports: list[nm.Progress] = []
    with pytest.warns(UserWarning, match="Image 2 was skipped"):
        list(nm.iter_segment([lesion[0], tmp_path / "none.png"], on_error="skip", progress=reports.append))
    assert (reports[-1].done, reports[-1].total) == (2, 2)
    with pytest.raises(nm.InputError, match="pixel_size_um"):
        next(nm.iter_segment(photographs, on_error="skip", pixel_size_um=-1))
    with pytest.raises(nm.InputError, match="on_error must be 'raise' or 'skip'"):
        next(nm.iter_segment(photographs, on_error="ignore"))


def test_an_error_of_a_list_names_the_image(lesion, tmp_path: Path) -> None:
    with pytest.raises(nm.UnreadableImage) as raised:
        nm.segment([lesion[0], tmp_path / "missing.png"])
    assert raised.value.__notes__ == ["It concerns image 2 of the list."]
    for arguments, message in (
        ({"batch_size": 0}, "batch_size must be 1 or more; found 0"),
        ({"include": [(1, 2)]}, "prompts are for one photograph"),
    ):
        with pytest.raises(nm.InputError, match=message):
            nm.segment([lesion[0]], **arguments)


@pytest.mark.slow
def test_saving_keeps_all_files_of_others(lesion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, nothing = nm.segment(lesion[0]), nm.segment(np.zeros((60, 60, 3), np.uint8), flips=True)
    (tmp_path / "inputs").mkdir()
    foreign = [tmp_path / "mole.jpg", tmp_path / "inputs/mask.png"]
    for path in foreign:
        path.write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    found.save(".")
    nm.explain(*lesion, method="cam").save(".")
    assert (tmp_path / "roi.png").is_file()
    nothing.save(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["lesion_found"] is False
    written = {"mask.png", "probability.png", "overlay.png", "band.png", "heatmap.png", "result.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"mole.jpg", "inputs", *written}
    with pytest.raises(nm.SaveError, match=r"mask\.png is not part of a lesion result and is kept"):
        found.save("inputs")
    assert [path.name for path in Path("inputs").iterdir()] == ["mask.png"]
    with pytest.raises(nm.SaveError):
        found.save(foreign[0])
    assert all(path.read_bytes() == b"mine" for path in foreign)


@pytest.mark.slow
def test_saving_into_an_empty_working_folder(lesion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        nm.segment(lesion[0]).save(".")
        assert Path("result.json").is_file()


def test_results_of_something_else_are_kept(lesion, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"tiles_total": 3}', encoding="utf-8")
    with pytest.raises(nm.SaveError, match=r"result\.json is not part of a lesion result"):
        nm.segment(lesion[0]).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_an_image_without_a_lesion_has_a_warning() -> None:
    found = nm.segment(np.full((60, 60, 3), 200, np.uint8))
    assert not found.mask.any()
    assert any(f"No lesion was found above the threshold ({found.threshold:g})" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda rgb, mask: nm.segment(rgb, threshold=2),
            "^segment: 'threshold' is 2; expected a number above 0",
        ),
        (lambda rgb, mask: nm.segment(rgb, flips="often"), "'flips'"),
        (lambda rgb, mask: nm.segment(rgb, ""), "a model must be a name, .*; found ''"),
        (lambda rgb, mask: nm.segment(rgb, box=(0, 0, 10)), r"^box must be four numbers .*; found \(0, 0, 10\)"),
        (lambda rgb, mask: nm.segment(rgb, box="abc"), "^box must be four numbers .*; found 'abc'"),
        (lambda rgb, mask: nm.segment(rgb, pixel_size_um=True), "pixel_size_um must be a positive number .*found True"),
        (lambda rgb, mask: nm.measure(nm.read_photograph(rgb)), r"such as segmentation\.mask; found Photograph\."),
        (lambda rgb, mask: nm.measure("nowhere.png"), r"^nowhere\.png does not exist\. Pass an existing"),
        (lambda rgb, mask: nm.measure(Path(__file__).parent), "tests is a folder, but the file of a mask was expected"),
        (lambda rgb, mask: nm.train({**RECIPE, "devices": 2}, "out"), "the recipe uses 2 processes, which only"),
        (lambda rgb, mask: nm.evaluate("lesion-small", [], "out"), "pass one data set or more"),
        (lambda rgb, mask: nm.evaluate("lesion-small", ["a", "./a"], "out"), "must be specified once, .*; found a, a"),
        (lambda rgb, mask: nm.read_photograph(rgb, accept_damaged=7), "accept_damaged must be True or False"),
        (lambda rgb, mask: nm.segment(rgb, pixel_size_um="x"), "pixel_size_um must be a positive number .*found 'x'"),
        (
            lambda rgb, mask: nm.classify(rgb, mask, coverage=95),
            "^classify: 'coverage' is 95; expected a number",
        ),
        (lambda rgb, mask: nm.classify(rgb, mask, sensitivity=90), "'sensitivity' is 90"),
        (lambda rgb, mask: nm.evaluate("lesion-small", "data", "out", flipps=True), "^evaluate: unknown key 'flipps'"),
        (
            lambda rgb, mask: nm.analyze_slide("slide.svs", "out", options={"overlap": 9}),
            "^analyze_slide: 'overlap'",
        ),
        (
            lambda rgb, mask: nm.analyze_slide("slide.svs", "out", pixel_size_um=2000),
            "^pixel_size_um: .* is 2000.* at most 100",
        ),
        (lambda rgb, mask: nm.segment(rgb.tolist()), "a PIL image, a tensor or a Photograph as the image; found list"),
        (
            lambda rgb, mask: nm.export("lesion-small", "tflite"),
            "format must be one of onnx, bioimageio, hub; found 'tflite'",
        ),
        (lambda rgb, mask: nm.read_run("nowhere"), r"contains no run\. Pass the folder that nm\.train wrote to"),
        (
            lambda rgb, mask: nm.import_masks({"a": mask}, "a", "out", metadata="table.csv", no_patients=True),
            r"there is no argument 'metadata'\. Pass table= instead",
        ),
        (
            lambda rgb, mask: nm.import_dataset("folder", "a", "out", map="map.toml", no_patients=True),
            r"there is no argument 'map'\. Pass table_map= instead",
        ),
        (lambda rgb, mask: nm.classify([rgb], [mask, mask]), "mask must have a value for each of 1 images; found 2"),
        (lambda rgb, mask: nm.classify([rgb, rgb], age=[61]), "age must have a value for each of 2 images; found 1"),
        (lambda rgb, mask: nm.classify([rgb], age={"a.jpg": 61}), "age must be a list, .*found a dict"),
        (lambda rgb, mask: nm.classify({"a.jpg", "b.jpg"}, age=[1, 2]), "image must be a list, .*found a set"),
        (lambda rgb, mask: nm.measure({"a.png", "b.png"}, [rgb, rgb]), "mask must be a list, .*found a set"),
        (lambda rgb, mask: nm.iter_progress(nm.train, progress=print), "iter_progress passes 'progress' itself"),
        (lambda rgb, mask: nm.analyze_slide("slide.svs", "out", options="x"), "options of analyze_slide .* found 'x'"),
        (lambda rgb, mask: nm.read_photograph(rgb, modality="wood lamp"), "dermoscopic, .*found 'wood lamp'"),
    ],
)
def test_wrong_arguments_are_errors_of_the_package(lesion, call, message: str) -> None:
    with pytest.raises(nm.MelanomaError, match=message):
        call(*lesion)


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf"), (1, 2, 3), (20, 0)])
def test_a_pixel_size_that_is_not_positive_is_refused_with_its_value(size) -> None:
    message = (
        rf"pixel_size_um must be a positive number of micrometers.*found {re.escape(repr(size))}\. Leave it out if"
    )
    for call in (
        lambda: nm.measure(MASK, pixel_size_um=size),
        lambda: nm.read_photograph(RGB, pixel_size_um=size),
        lambda: nm.open_slide("slide.svs", size),
        lambda: nm.analyze_slide("slide.svs", "out", pixel_size_um=size),
    ):
        with pytest.raises(nm.InputError, match=message):
            call()


NONSENSE = {
    "nothing": None,
    "an object": object(),
    "a number": 3,
    "a huge number": 10**400,
    "NaN": float("nan"),
    "bytes": b"image",
    "a list": [1, 2],
    "rows of different lengths": [[1, 2], [3]],
    "a mapping": {"a": 1},
    "a missing file": "nowhere.png",
    "a file that is no text": Path("binary.toml"),
    "a folder": Path("folder"),
    "a path with a null": "a\0b",
    "a path that is too long": "x" * 5000,
    "NaN pixels": np.full((60, 80), np.nan),
    "four channels": np.zeros((60, 80, 4), np.uint8),
    "pixels above 1": np.full((60, 80, 3), 2.0),
    "no pixels": np.zeros((0, 0, 3), np.uint8),
    "texts": np.full((60, 80), "a"),
}
RGB, MASK, RECIPE = np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), bool), {"data": {"datasets": ["folder"]}}
CALLS: dict[str, tuple[Callable[[Any], object], set[str]]] = {  # a call, and the values that it accepts
    "photograph": (nm.read_photograph, {"four channels"}),
    "pixel size": (lambda given: nm.read_photograph(RGB, pixel_size_um=given), {"nothing", "a number", "a list"}),
    "modality": (lambda given: nm.read_photograph(RGB, modality=given), {"nothing"}),
    "damage": (lambda given: nm.read_photograph(RGB, accept_damaged=given), set()),
    "mask": (nm.measure, set()),
    "mask of a photograph": (lambda given: nm.measure(given, RGB), set()),
    "measured photograph": (lambda given: nm.measure(MASK, given), {"nothing", "four channels"}),
    "segmented photograph": (lambda given: nm.segment(given, "nobody"), set()),
    "model": (nm.load_model, set()),
    "patient": (lambda given: nm.classify(RGB, model="nobody", age=given), set()),
    "method": (lambda given: nm.explain(RGB, MASK, method=given), set()),
    "class": (lambda given: nm.explain(RGB, MASK, target_class=given), {"nothing"}),
    "data set": (nm.read_dataset, set()),
    "case": (nm.read_case, set()),
    "recipe": (lambda given: nm.train(given, "run"), set()),
    "data of a recipe": (lambda given: nm.train({"data": given}, "run"), set()),
    "run folder": (lambda given: nm.train(RECIPE, given), set()),
    "progress": (lambda given: nm.train(RECIPE, "run", progress=given), set()),
    "resume": (lambda given: nm.train(RECIPE, "run", resume=given), set()),
    "evaluated model": (lambda given: nm.evaluate(given, "folder", "out"), set()),
    "evaluated data": (lambda given: nm.evaluate("lesion-small", given, "out"), set()),
    "folder of an evaluation": (lambda given: nm.evaluate("lesion-small", "folder", given), set()),
    "split": (lambda given: nm.evaluate("lesion-small", "folder", "out", split=given), set()),
    "models": (lambda given: nm.compare(given, "folder", "out"), set()),
    "evaluations": (lambda given: nm.compare([given, given], None, "out"), set()),
    "slide": (nm.open_slide, set()),
    "slide to analyze": (lambda given: nm.analyze_slide(given, "out"), set()),
    "model of slides": (lambda given: nm.analyze_slide("nowhere.svs", "out", given), set()),
    "scale": (lambda given: nm.analyze_slide("nowhere.svs", "out", pixel_size_um=given), set()),
    "options": (lambda given: nm.analyze_slide("nowhere.svs", "out", options=given), set()),
    "painted slide": (lambda given: nm.fit_tissue_classifier(given, folder="out"), set()),
    "strokes": (lambda given: nm.fit_tissue_classifier("nowhere.svs", given, folder="out"), set()),
    "folder of a slide": (nm.AnalyzedSlide.read, set()),
    "thickness": (nm.measure_breslow, set()),
}


@pytest.fixture(scope="module")
def segmenters() -> dict[Any, Segmenter]:
    """The segmentation models that ``loaded_once`` has loaded."""
    return {}


@pytest.fixture
def loaded_once(segmenters: dict[Any, Segmenter], monkeypatch: pytest.MonkeyPatch) -> None:
    """Load each segmentation model once: an evaluation loads it again, also if its data turn out to be missing."""
    load = SegmentationModel.load.__func__

    def load_once(cls: type[Segmenter], info: BundleInfo, *more: Any) -> Segmenter:
        if (key := (cls, info.path, more)) not in segmenters:
            segmenters[key] = load(cls, info, *more)
        return segmenters[key]

    monkeypatch.setattr(SegmentationModel, "load", classmethod(load_once))


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("call", CALLS)
def test_invalid_files_raise_an_error_of_the_package(call: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    function, accepted = CALLS[call]
    for name, value in NONSENSE.items():
        with nullcontext() if name in accepted else pytest.raises(nm.MelanomaError):
            function(value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("area_mm2", "the pixel size is unknown. Pass pixel_size_um"),
        ("color_std_l", "it needs an image"),
        ("volume_mm3", "there is no such measurement .known: area_px"),
    ],
)
def test_a_missing_measurement_has_a_reason(lesion, name: str, reason: str) -> None:
    measured = nm.measure(lesion[1])
    assert name not in measured
    with pytest.raises(nm.NotMeasured, match=f"^'{name}' was not measured: {reason}"):
        measured[name]
    with pytest.raises(KeyError, match="the mask is empty"):
        nm.measure(np.zeros((5, 5)))["area_px"]


def test_an_uncertain_modality_names_the_argument() -> None:
    caution = ValidityInputs("any", modality="dermoscopic", modality_certain=False).check()
    (warning,) = inputs.list_warnings(caution)
    assert warning.startswith("Type assumed: dermoscopic. ")
    assert "if it is known, pass nm.read_photograph(" in warning


def test_measurements_are_a_mapping(lesion) -> None:
    measured = nm.measure(lesion[1])
    assert dict(measured) == {**measured} == dict(measured.items())
    assert list(measured) == list(measured.keys()) == list(measured.to_pandas()["name"])
    assert measured.get("area_mm2", -1) == -1
    assert measured == nm.measure(lesion[1])
    assert not nm.measure(np.zeros((5, 5)))


def test_probabilities_are_no_mask(lesion) -> None:
    rgb, truth = lesion
    probability = nm.segment(rgb).probability
    for call in (nm.measure, lambda mask: nm.measure(mask, rgb), lambda mask: nm.classify(rgb, mask)):
        with pytest.raises(nm.InputError, match=r"such as probabilities\. Pass segmentation\.mask, or prob"):
            call(probability)
        with pytest.raises(nm.InputError, match=r"found numbers from \d+ to 255, such as classes or scaled prob"):
            call((probability * 255).astype(np.uint8) | np.uint8(255) * truth)
    assert nm.measure(truth.astype(np.uint8) * 7) == nm.measure(truth)
    soft = truth.astype(np.uint8) * 255
    soft[0, 0] = 3
    assert nm.measure(soft) == nm.measure(truth)
    assert nm.measure(truth.astype(float)) == nm.measure(truth * np.float32(255)) == nm.measure(truth)


def test_a_mask_may_be_a_file(lesion, tmp_path: Path) -> None:
    rgb, _ = lesion
    found = nm.segment(rgb)
    found.save(tmp_path)
    assert nm.measure(tmp_path / "mask.png") == nm.measure(found.mask)
    assert nm.classify(rgb, str(tmp_path / "mask.png")).probabilities == nm.classify(rgb, found.mask).probabilities
    with pytest.raises(nm.InputError, match=r"probability\.png has the values 0, .*a mask must have 0 and one other"):
        nm.measure(tmp_path / "probability.png")
    with pytest.raises(nm.UnreadableImage, match="nowhere"):
        nm.measure(tmp_path / "nowhere.png")


def test_measurements_need_no_image(lesion) -> None:
    rgb, truth = lesion
    plain, colored = nm.measure(truth, pixel_size_um=20), nm.measure(truth.astype(int), rgb, 20)
    assert plain["area_mm2"] == colored["area_mm2"]
    assert colored.keys() - plain.keys() == {name for name in colored if name.startswith("color_")}
    assert dict(nm.measure(np.zeros((5, 5)))) == {}
    with pytest.raises(nm.MelanomaError, match="shape of its image"):
        nm.measure(truth[:-1], rgb)


def test_measurements_are_written(lesion, tmp_path: Path) -> None:
    folder = nm.measure(lesion[1]).save(tmp_path / "new")
    assert pd.read_csv(folder / "measurements.csv")["name"].is_unique


def test_a_lesion_is_classified_and_explained(lesion, tmp_path: Path) -> None:
    rgb, truth = lesion
    found = nm.classify(rgb, truth, age=61, sex="female", site="lower extremity")
    assert found.probability == found.probabilities["melanoma"]
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert found.probabilities != nm.classify(rgb, truth, age=20, sex="male").probabilities
    assert list(found.to_pandas().columns) == ["class", "probability", "in_prediction_set"]
    assert (found.save(tmp_path / "result") / "classification.json").is_file()
    shown = nm.explain(rgb, truth, method="cam", age=61, sex="female", site="lower extremity")
    assert shown.heatmap.shape == truth.shape
    assert repr(shown).startswith(f"Explanation(shape={truth.shape}, method='cam', target_class='melanoma', valid=")
    assert (shown.valid, shown.warnings) == (found.valid, found.warnings)
    assert f"'melanoma': {found.probability:.4g}" in repr(found)
    assert found.probabilities[shown.target_class] == max(found.probabilities.values()), "the predicted class"
    assert shown.heatmap.max() == pytest.approx(1, abs=0.01)
    assert (shown.save(tmp_path / "heat") / "heatmap.png").is_file()


@pytest.mark.slow
def test_without_a_mask_the_lesion_is_segmented_first(lesion, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, _ = lesion
    expected = nm.classify(rgb, nm.segment(rgb).mask, age=61)
    monkeypatch.setattr("napari_melanoma.lesion.analysis.measure_lesion", lambda *_: pytest.fail("it was measured"))
    recognized = []
    recognize = modality.recognize_modality
    for module in ("imaging.modality", "classification.classify"):
        monkeypatch.setattr(
            f"napari_melanoma.{module}.recognize_modality", lambda rgb: recognized.append(1) or recognize(rgb)
        )
    found = nm.classify(rgb, age=61)
    assert (found.probabilities, found.interval, found.valid, found.warnings) == (
        expected.probabilities,
        expected.interval,
        expected.valid,
        expected.warnings,
    )
    assert recognized == [1]


def test_several_lesions_are_classified(lesion) -> None:
    rgb, mask = lesion
    ages, sexes = [30, None], ["female", "male"]
    found = nm.classify([rgb, rgb], [mask, mask], age=ages, sex=sexes, site="trunk")
    alone = [nm.classify(rgb, mask, age=a, sex=s, site="trunk") for a, s in zip(ages, sexes, strict=True)]
    assert [one.probabilities for one in found] == [one.probabilities for one in alone]
    assert found[0].probability != found[1].probability
    assert (
        nm.classify(np.stack([rgb, rgb]), [mask, mask], age=30)[1].probabilities
        == nm.classify(rgb, mask, age=30).probabilities
    )


@pytest.mark.parametrize("mask", ["m.png", Path("m.png"), np.ones((2, 30), bool)])
def test_several_lesions_need_several_masks(mask: object) -> None:
    with pytest.raises(nm.InputError, match="mask must be a list with one for each of 2 images; found a single mask"):
        nm.classify(["a.png", "b.png"], mask)


@pytest.mark.slow
def test_several_lesions_are_explained(lesion, tmp_path: Path) -> None:
    rgb, mask = lesion
    Image.fromarray(rgb[::-1]).save(tmp_path / "b.png")
    reports: list[nm.Progress] = []
    several, masks = [rgb, tmp_path / "b.png"], [mask, np.ascontiguousarray(mask[::-1])]
    found = nm.explain(several, masks, age=[30, None], sex="male", progress=reports.append)
    alone = [
        nm.explain(image, one, age=age, sex="male") for image, one, age in zip(several, masks, (30, None), strict=True)
    ]
    for listed, single in zip(found, alone, strict=True):
        np.testing.assert_array_equal(listed.heatmap, single.heatmap)
        assert listed.warnings == single.warnings
    assert [(one.done, one.total, one.message) for one in reports] == [
        (1, 2, "Computing heatmaps"),
        (2, 2, "Computing heatmaps"),
    ]
    np.testing.assert_array_equal(
        nm.explain(np.stack([rgb, rgb]), [mask, mask], age=30, sex="male")[1].heatmap, alone[0].heatmap
    )
    one_by_one = nm.iter_explain([rgb, tmp_path / "missing.png"], [mask, mask])
    assert next(one_by_one).heatmap.any()
    with pytest.raises(nm.UnreadableImage) as raised:
        next(one_by_one)
    assert raised.value.__notes__ == ["It concerns image 2 of the list."]
    with pytest.raises(nm.InputError, match="mask must be a list with one for each of 2 images; found a single mask"):
        nm.explain([rgb, rgb], mask)
    assert nm.explain([]) == []


def test_several_lesions_are_measured(lesion, tmp_path: Path) -> None:
    rgb, mask = lesion
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    plain, colored = nm.measure(mask), nm.measure(mask, rgb, 20)
    reports: list[nm.Progress] = []
    assert nm.measure([mask, tmp_path / "mask.png", mask.tolist()], progress=reports.append) == [plain] * 3
    assert [(one.done, one.total) for one in reports] == [(1, 3), (2, 3), (3, 3)]
    assert nm.measure(np.stack([mask, mask]), np.stack([rgb, rgb]), 20) == [colored, colored]
    assert nm.measure(iter([mask, mask]), iter([rgb, Image.fromarray(rgb)]), 20) == [colored, colored]
    assert nm.measure(mask.tolist()) == plain, "a list of rows is one mask"
    table = pd.DataFrame(nm.measure([mask, mask], [rgb, rgb]))
    assert table["area_px"].tolist() == [plain["area_px"]] * 2
    assert nm.measure([]) == []
    with pytest.raises(nm.InputError, match=r"a mask has the shape \(row, column\); found \(\d+, \d+, 3\)"):
        nm.measure(np.stack([mask] * 3, axis=-1))
    with pytest.raises(nm.InputError, match="image must be a list with one for each of 2 masks; found a single image"):
        nm.measure([mask, mask], rgb)
    with pytest.raises(nm.InputError, match="image must have one for each of 2 masks; found 1"):
        nm.measure([mask, mask], [rgb])
    with pytest.raises(nm.UnreadableImage) as raised:
        nm.measure([mask, "nowhere.png"])
    assert raised.value.__notes__ == ["It concerns image 2 of the list."]


def test_an_empty_heatmap_gives_a_warning(lesion, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, truth = lesion
    monkeypatch.setattr(explanation, "compute_evidence", lambda *_: np.full((8, 8), -1, np.float32))
    shown = nm.explain(rgb, truth, method="grad_cam")
    assert not shown.heatmap.any()
    assert any("no image region that increases the probability of melanoma" in text for text in shown.warnings)


def test_a_classification_matches_its_file(lesion, tmp_path: Path) -> None:
    found = nm.classify(*lesion, age=25, sex="female")
    stored = json.loads((found.save(tmp_path) / "classification.json").read_text(encoding="utf-8"))
    point = stored["operating_point"]
    assert found.threshold is not None
    assert found.threshold.model_dump(mode="json") == point
    assert found.above_threshold == (found.probability >= point["threshold"])
    assert found.contributions == {one["field"]: one["change"] for one in stored["contributions"]}
    assert set(found.contributions) == {"age", "sex"}
    assert found.probability_from_image == stored["from_image"] != found.probability
    assert [case.image_id for case in found.similar_cases] == [case["image_id"] for case in stored["neighbours"]]
    assert found.age_group is not None
    assert found.age_group.model_dump(mode="json") == stored["age_group"]
    shown = f"threshold={point['threshold']:.4g}, above_threshold={found.above_threshold}, out_of_distribution="
    assert f"coverage={found.coverage:g}, {shown}" in repr(found)


def test_the_sensitivity_moves_the_threshold_alone(lesion) -> None:
    own, sensitive = nm.classify(*lesion, age=25), nm.classify(*lesion, age=25, sensitivity=0.98)
    assert own.threshold is not None
    assert sensitive.threshold is not None
    assert sensitive.threshold.threshold < own.threshold.threshold
    assert sensitive.threshold.target_sensitivity == 0.98
    assert sensitive.probabilities == own.probabilities
    assert sensitive.age_group is None  # measured at the model's own threshold


def test_patient_data_without_effect_cause_a_warning(lesion) -> None:
    found = nm.classify(*lesion, age=61, site="lower extremity", diameter_1_mm=7)
    assert nm.load_model("melanoma-small").patient_data_columns == ("age", "sex")
    assert nm.load_model("lesion-small").patient_data_columns == ()
    assert found.missing_data == ("sex",)
    assert found.unused_data == ("diameter_1_mm", "site")
    assert "'melanoma-small' uses age, sex; diameter_1_mm, site had no effect on the result." in found.warnings
    assert not any("no effect" in warning for warning in nm.classify(*lesion, age=61).warnings)
    shown = nm.explain(*lesion, method="cam", age=61, site="lower extremity")
    assert shown.warnings == ("'melanoma-small' uses age, sex; site had no effect on the result.",)


@pytest.mark.parametrize(
    ("patient", "message"),
    [({"age": 500}, "from 0 to 120 years"), ({"sex": "often"}, "Sex"), ({"agee": 4}, "'agee' is not a column")],
)
def test_impossible_patient_data_are_rejected(lesion, patient, message: str) -> None:
    with pytest.raises(nm.MelanomaError, match=message):
        nm.classify(*lesion, **patient)


def test_a_modality_among_patient_data_causes_a_warning(lesion) -> None:
    rgb, mask = lesion
    warning = 'The argument modality had no effect: pass nm.read_photograph(image, modality="macroscopic")'
    warnings = nm.classify(rgb, mask, model="melanoma-small", modality="macroscopic").warnings
    assert any(text.startswith(warning) for text in warnings)
    stated = nm.read_photograph(rgb, modality="dermoscopic")
    assert not any("argument modality" in text for text in nm.classify(stated, mask, modality="dermoscopic").warnings)


def test_installed_models_are_listed() -> None:
    models = {model.name: model for model in nm.list_models()}
    assert models["lesion-small"].config.task == "segmentation"
    assert models["risk-demo"].config.is_slide_model
    assert models["lesion-click"].config.answers_prompts
    assert "dermoscopic" in models["melanoma-small"].config.modalities
    assert nm.load_model("melanoma-small") == models["melanoma-small"]


def test_models_are_found_by_name_and_folder(tiny_bundle) -> None:
    assert nm.load_model("lesion-small").config.task == "segmentation"
    with pytest.raises(nm.BundleError, match=r"Select one for classification: lesion-phone, melanoma-small\."):
        nm.classify(RGB, MASK, model="lesion-small")  # not risk-demo, which is for slides
    assert nm.load_model(tiny_bundle.path).name == "tiny"
    assert nm.load_model(tiny_bundle.path).card.startswith("# tiny")
    with pytest.raises(nm.MelanomaError, match="no model named 'nobody'"):
        nm.load_model("nobody")


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Five synthetic photographs with masks, one a patient."""
    folder = tmp_path / "set"
    rows = ["image_id,path,mask_path,patient_id"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(5):
        drawn = lesion_phantom(LesionPhantomConfig(seed=number, size=(96, 128)))
        Image.fromarray(drawn.rgb).save(folder / f"images/p{number}.png")
        Image.fromarray(drawn.mask).save(folder / f"masks/p{number}.png")
        rows.append(f"p{number},images/p{number}.png,masks/p{number}.png,{number}")
    (folder / "dataset.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_a_data_set_becomes_a_table(data_set: Path) -> None:
    found = nm.read_dataset(data_set)
    assert len(found) == 5
    assert found["image_id"].tolist() == [f"p{number}" for number in range(5)]
    assert found["mask"].map(Path.is_file).all()
    with pytest.raises(nm.MelanomaError):
        nm.read_dataset(data_set / "images")


def test_a_data_set_is_checked_and_split(data_set: Path) -> None:
    dataset = nm.DataSet(data_set)
    assert (os.fspath(dataset), dataset) == (str(data_set), nm.DataSet(str(data_set)))
    pd.testing.assert_frame_equal(dataset.to_pandas(), nm.read_dataset(data_set))
    check = dataset.check()
    assert (check.counts.images, check.counts.masks, check.faults) == (5, 5, [])
    assert repr(check).startswith("DataSetCheck(images=5, masks=5, faults=0")
    assert set(check.to_pandas().columns) == {"kind", "concerns", "message"}
    table = dataset.split(test=0.2, folds=2)
    assert table["images"].sum() == 5 + 4
    assert table["fold"].dropna().tolist() == [1, 2]
    assert table.set_index("split").loc["test", "images"] == 1
    rows = dataset.to_pandas()
    assert (rows["fold"].eq("") == rows["split"].eq("test")).all()
    with pytest.raises(nm.ConfigError, match="folds and val exclude each other"):
        dataset.split(val=0.2, folds=2)
    with pytest.raises(nm.DataSetError, match="is not a data set"):
        nm.DataSet(data_set / "images")


def test_duplicates_are_found_across_data_sets(data_set: Path, tmp_path: Path) -> None:
    shutil.copytree(data_set, tmp_path / "copy")
    pairs = nm.find_duplicates([nm.DataSet(data_set), tmp_path / "copy"], across=True)
    assert set(zip(pairs["image_1"], pairs["image_2"], strict=True)) >= {(f"p{n}", f"p{n}") for n in range(5)}
    assert set(pairs["data_set_1"]) == {"set"}
    assert nm.find_duplicates(data_set).empty


def test_masks_of_arrays_become_a_data_set(data_set: Path, tmp_path: Path) -> None:
    masks = {f"p{number}.png": np.asarray(Image.open(data_set / f"masks/p{number}.png")) for number in range(2)}
    with pytest.raises(nm.DataSetError, match="names the patient"):
        nm.import_masks(masks, data_set / "images", tmp_path / "new")
    imported = nm.import_masks(
        {**masks, "p9.png": masks["p0.png"]},
        data_set / "images",
        tmp_path / "new",
        table=data_set / "dataset.csv",
        reviewer="AB",
    )
    assert len(imported.added) == 2
    assert [name for name, _ in imported.faults] == ["masks/p9.png"]
    assert len(imported.without_mask) == 3
    assert imported.dataset is not None
    table = imported.dataset.to_pandas()
    assert sorted(table["patient_id"]) == ["0", "1"]
    assert set(table["reviewer"]) == {"AB"}
    for wrong in ({"a/b.png": masks["p0.png"]}, {"p0.png": np.zeros(3, bool)}):
        with pytest.raises(nm.InputError, match=r"arrays \(row, column\) by the names of photographs"):
            nm.import_masks(wrong, data_set / "images", tmp_path / "new")


def test_arrays_are_matched_by_whole_names(data_set: Path, tmp_path: Path) -> None:
    masks = {f"mole.{number}": np.asarray(Image.open(data_set / f"masks/p{number}.png")) for number in range(2)}
    for number in range(2):
        shutil.copy(data_set / f"images/p{number}.png", tmp_path / f"mole.{number}.png")
    imported = nm.import_masks(masks, tmp_path, tmp_path / "new", no_patients=True)
    assert (imported.added, imported.faults) == (["mole.0", "mole.1"], [])
    with pytest.raises(nm.InputError, match=r"'mole\.jpg' and 'Mole\.png' have the same name without suffix"):
        nm.import_masks(
            {"mole.jpg": masks["mole.0"], "Mole.png": masks["mole.1"]}, tmp_path, tmp_path / "no", no_patients=True
        )


def test_a_long_function_reports_in_the_background() -> None:
    def count(steps: int, *, progress: Callable[[nm.Progress], None]) -> int:
        for done in range(1, steps + 1):
            progress(nm.Progress(done, steps, "Counting"))
        if steps > 3:
            raise nm.InputError("too many")
        return steps

    counting = nm.iter_progress(count, 3)
    assert [step.done for step in counting] == [1, 2, 3]
    assert counting.result() == 3
    assert list(counting) == []
    failing = nm.iter_progress(count, 4)
    with pytest.raises(nm.InputError, match="too many"):
        list(failing)
    with nm.iter_progress(count, 10**9) as endless:
        assert next(endless).done == 1
    with pytest.raises(nm.InputError, match="was canceled"):
        endless.result()


@pytest.mark.slow
def test_a_model_is_exported(tiny_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    path = nm.export(tiny_bundle, "onnx")
    assert path == Path("tiny.onnx")
    assert onnxruntime.InferenceSession(path).get_inputs()[0].name == "image"
    with pytest.raises(nm.ConfigError, match="suffix"):
        nm.export(tiny_bundle, "onnx", "tiny.txt")


def test_columns_of_numbers_are_numbers(data_set: Path) -> None:
    ages, cells = ["61", "", "unknown", "7", "60.5"], ["1", "0", "", "1", "0"]
    text = (data_set / "dataset.csv").read_text(encoding="utf-8").splitlines()
    lines = [f"{text[0]},age,melanoma,mitoses_per_mm2,note"]
    lines += [
        f"{row},{age},{cell},{'few' if age else ''},{cell}"
        for row, age, cell in zip(text[1:], ages, cells, strict=True)
    ]
    (data_set / "dataset.csv").write_text("\n".join(lines), encoding="utf-8")
    table = nm.read_dataset(data_set)
    assert (str(table["age"].dtype), str(table["melanoma"].dtype)) == ("Float64", "Int64")
    assert table["age"].mean() == pytest.approx((61 + 7 + 60.5) / 3)
    assert table["melanoma"].isna().tolist() == [False, False, True, False, False]
    assert table["mitoses_per_mm2"].tolist() == ["few", "", "few", "few", "few"]
    assert table["patient_id"].tolist() == ["0", "1", "2", "3", "4"]
    assert table["note"].tolist() == cells


def test_results_are_never_written_into_a_data_set(data_set: Path, tmp_path: Path) -> None:
    before = sorted(data_set.rglob("*"))
    (tmp_path / "link").symlink_to(data_set)
    recipe = {"data": {"datasets": [str(data_set)]}}
    for folder, where in ((data_set, "is"), (data_set / "images/new", "lies in"), (tmp_path / "link/new", "lies in")):
        for call in (
            lambda folder=folder: nm.evaluate("lesion-small", data_set, folder),
            lambda folder=folder: nm.compare(["lesion-small", "lesion-small"], [data_set], folder),
            lambda folder=folder: nm.train(recipe, folder),
        ):
            with pytest.raises(nm.InputError, match=f"{where} the data set .*Choose a folder outside of it"):
                call()
    assert sorted(data_set.rglob("*")) == before


def test_columns_of_an_evaluation_are_explained() -> None:
    from napari_melanoma.evaluation.masks import FACTS

    page = (Path(__file__).parents[1] / "docs/how-to/evaluating.md").read_text(encoding="utf-8")
    columns = set(re.findall(r"`(\w+)`", page.split("## Columns of `per_image.csv`")[1].split("\n## ")[0]))
    assert {
        *FACTS,
        "image_id",
        "domain",
        "split",
        "group",
        "status",
        "error",
        "label",
        "predicted_class",
        "trained_on",
    } <= columns


def test_the_page_of_the_api_lists_all_names() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/python-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `nm\.(\w+)", page, re.MULTILINE)
    assert sorted(rows) == sorted(set(nm.__all__) - {"__version__"})


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("module", ["datasets", "inputs", "learning", "photographs", "slides"])
def test_types_of_parameters_are_shown_as_written(module: str) -> None:
    """The reference shows ``path-like`` as a difference, and the first of the values in braces as the default."""
    text = (STUB.parent / "api" / f"{module}.py").read_text(encoding="utf-8")
    types = [found.removesuffix(", optional") for found in re.findall(r"^ +[\w, ]+ : (.+)$", text, re.MULTILINE)]
    assert len(types) > 3
    for shown in types:
        assert not shown.startswith("{")
        with suppress(SyntaxError):
            assert not any(isinstance(node, ast.BinOp) for node in ast.walk(ast.parse(shown, mode="eval"))), shown


def test_ids_in_the_table_of_an_evaluation_are_texts(tmp_path: Path) -> None:
    ids = ["007", "1e5", "NA", "-1", "=1+1", "true"]
    rows = [{"image_id": name, "domain": "2024", "error": "", "DI": 0.5, "trained_on": ""} for name in ids]
    write_table(tmp_path / "per_image.csv", [*rows, {"image_id": "x", "domain": "2024", "error": "unreadable"}])
    table = nm.EvaluationSummary(tmp_path, {}, {}, {}, ()).per_image()
    assert list(table["image_id"]) == [*ids, "x"]
    assert set(table["domain"]) == {"2024"}
    assert table["error"].isna().tolist() == [True] * 6 + [False]
    assert table["DI"].dtype == float
    assert table["DI"].sum() == 3
    assert table["trained_on"].isna().all()


def test_two_processes_do_not_write_results_into_one_folder(data_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with hold_output_lock(out):
        for call in (
            lambda: nm.evaluate("lesion-small", data_set, out),
            lambda: nm.compare(["lesion-small", "lesion-click"], data_set, out),
            lambda: nm.compare([tmp_path / "one", tmp_path / "two"], None, out),
        ):
            with pytest.raises(nm.RunError, match="another process works in"):
                call()


@pytest.mark.slow
def test_failed_images_of_one_id_in_several_data_sets_are_all_listed(data_set: Path, quick_figures) -> None:
    other = shutil.copytree(data_set, data_set.with_name("other"))
    for folder, names in ((data_set, ("p0", "p1")), (other, ("p0",))):
        for name in names:
            (folder / f"images/{name}.png").write_bytes(b"no image")
    found = nm.evaluate("lesion-small", [data_set, other], data_set.with_name("out"), include_seen=True)
    assert found.failed.keys() == {"set/p0", "other/p0", "p1"}
    assert found.metrics["DI"].count == 7


@pytest.mark.slow
def test_models_are_evaluated_and_compared(data_set: Path, tiny_bundle, quick_figures, tmp_path: Path) -> None:
    found = nm.evaluate("lesion-small", data_set, tmp_path / "old", include_seen=True)
    assert found.metrics["DI"].count == 5
    assert found.metrics["DI"].low < found.metrics["DI"].mean < found.metrics["DI"].high
    assert set(found.parts) == {"set"}
    assert not found.to_pandas()["metric"].duplicated().any()
    assert set(found.to_pandas()["metric"]) >= {"DI", "JA"}
    assert len(found.per_image()) == 5
    assert found.failed == {}
    assert f"'DI': {found.metrics['DI'].mean:.4g}" in repr(found)
    assert len(repr(found)) < 1000
    nm.evaluate(tiny_bundle, [data_set], tmp_path / "new", include_seen=True)
    stored = nm.compare([tmp_path / "old", tmp_path / "new"], None, tmp_path / "stored")
    measured = nm.compare(["lesion-small", tiny_bundle], data_set, tmp_path / "both", include_seen=True)
    for table in (stored.to_pandas(), measured.to_pandas()):
        dice = table[(table["data"] == "all") & (table["metric"] == "DI")]
        assert len(dice) == 2
        assert dice["difference"].dropna().item() < 0
    assert stored.auc_tests == measured.auc_tests == {}
    for option in ({"split": "test"}, {"include_seen": True}):
        with pytest.raises(nm.InputError, match="no effect without data"):
            nm.compare([tmp_path / "old", tmp_path / "new"], None, tmp_path / "stored", **option)
    assert isinstance(nm.compare([tiny_bundle] * 2, data_set, tmp_path / "seen").warnings, tuple)
    with pytest.raises(nm.MelanomaError, match="two models or more"):
        nm.compare(["lesion-small"], data_set, tmp_path / "one")
    with pytest.raises(nm.MelanomaError, match="different tasks"):
        nm.compare(["lesion-small", "melanoma-small"], data_set, tmp_path / "mixed")


@pytest.mark.slow
def test_models_of_several_classes_are_evaluated_and_compared(quick_figures, tmp_path: Path) -> None:
    classes = nm.load_model(SKIN_TEST).config.classes
    folder = tmp_path / "tiles"
    for number in range(2):
        labels = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % len(classes)
        write_rgb(folder / f"images/t{number}.png", np.repeat(50 * labels[..., None], 3, axis=2))
        write_labels(folder / f"masks/t{number}.png", labels)
    write_table(folder / "dataset.csv", [{"image_id": f"t{number}", "patient_id": number} for number in range(2)])
    assert nm.evaluate(SKIN_TEST, folder, tmp_path / "one").metrics["DI"].count == 2
    with pytest.raises(nm.MelanomaError, match="flips"):
        nm.evaluate(SKIN_TEST, folder, tmp_path / "one", flips=True)
    table = nm.compare([SKIN_TEST, SKIN_TEST], folder, tmp_path / "two").to_pandas()
    assert set(table["metric"]) >= {"JA", "DI", f"DI {classes[-1]}"}
    assert set(table["difference"].dropna()) == {0}
    assert not table.duplicated(["data", "model", "metric"]).any()
    with pytest.raises(nm.MelanomaError, match="two at a time"):
        nm.compare([SKIN_TEST] * 3, folder, tmp_path / "three")


@pytest.mark.usefixtures("user_folders")
@pytest.mark.slow
def test_a_slide_is_opened_analyzed_and_measured(tmp_path: Path) -> None:
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
    from napari_melanoma.phantoms.slide.render import write_slide

    path = write_slide(
        SlidePhantomConfig(size=(640, 640), mpp=1.0, lesions={"breslow_mm": 0.2}), tmp_path, "slide"
    ).image
    with nm.open_slide(path) as slide:
        assert slide.level_shapes[0] == (640, 640)
        assert slide.pixel_size_um == (1.0, 1.0)
        assert slide.read(0, 0, 10, 20).shape == (10, 20, 3)
        assert max(slide.thumbnail(64).shape) == 64
        assert repr(slide).startswith("SlideImage(name='slide', levels=((640, 640), ")
        for wrong in ((0, 0, 1, 1, 99), ("0", 0, 1, 1), (0, 0, -1, 1), (0, 0, 1, None), (0, 0, 1, 1, "0")):
            with pytest.raises(nm.InputError, match=r"levels 0 to|must be an integer|a rectangle has"):
                slide.read(*wrong)
        assert slide.thumbnail(5000).shape == (640, 640, 3)  # not enlarged
        assert repr(slide.info).startswith("SlideInfo(name='slide', format=")
        assert len(repr(slide.info)) < 300
        assert "magnification" in (type(slide).info.__doc__ or "")
        for side in (0, None, float("inf"), 10**12):
            with pytest.raises(nm.InputError, match="side_px must be"):
                slide.thumbnail(side)
    found = nm.analyze_slide(path, tmp_path / "result", nm.load_model(SKIN_TEST))
    assert nm.analyze_slide(path, tmp_path / "result", SKIN_TEST).lesions == found.lesions
    assert (found.name, len(found.to_pandas())) == ("slide", found.lesions)
    assert nm.measure_breslow(found) == nm.measure_breslow(tmp_path / "result")
    assert found.heatmap().shape[-2:] > (0, 0)
    with pytest.raises(nm.MelanomaError, match="overlapp"):
        nm.analyze_slide(path, tmp_path / "other", options={"overlapp": 0.5})
    nm.analyze_slide(path, tmp_path / "tiles", TILE_TEST, pixel_size_um=(1, 1))
    install_slide_models()
    with pytest.raises(nm.InputError, match=r"does not distinguish the layers .* \(installed: .*skin-test"):
        nm.measure_breslow(tmp_path / "tiles")
    (tmp_path / "tiles/lesions.geojson").unlink()
    (tmp_path / "tiles/heatmap.ome.tif").unlink()
    for read in (nm.AnalyzedSlide.to_pandas, nm.AnalyzedSlide.heatmap):
        with pytest.raises(nm.InputError, match=r"does not exist: the model of this analysis has no|analyze the slide"):
            read(nm.AnalyzedSlide.read(tmp_path / "tiles"))
    columns = set(nm.measure_breslow(found).to_pandas())
    assert columns == set(nm.BreslowMeasurement(None, None, None, False, (), True).to_pandas())
    for nothing in (path, tmp_path):
        for read in (nm.AnalyzedSlide.read, nm.measure_breslow):
            with pytest.raises(nm.InputError, match=r"not the folder of an analyzed slide.*Run nm.analyze_slide"):
                read(nothing)


def test_a_case_becomes_a_table(tmp_path: Path) -> None:
    from napari_melanoma.case.store import CaseStore

    with CaseStore.create(tmp_path / "case") as store:
        assert store.case.lesions == ()
    found = nm.read_case(tmp_path / "case")
    assert found.to_pandas().empty
    assert "lesions=0, images=0, missing=0" in repr(found)
    with pytest.raises(nm.MelanomaError):
        nm.read_case(tmp_path)


@pytest.mark.slow
def test_a_model_is_trained_from_a_recipe(data_set: Path, tmp_path: Path) -> None:
    from napari_melanoma.training.recipe import TrainRecipe

    values = {
        "name": "short",
        "epochs": 1,
        "batch_size": 2,
        "device": "cpu",
        "precision": "fp32",
        "data": {"datasets": [str(data_set)], "split": "all", "cache_size": 48},
        "model": {
            "options": {"encoder": "test_efficientnet", "decoder_channels": 16},
            "start": "none",
            "input_size": 32,
        },
    }
    write_toml(tmp_path / "recipe.toml", TrainRecipe.parse(values, "the test"))
    reports: list[nm.Progress] = []
    model = nm.train(tmp_path / "recipe.toml", tmp_path / "run", progress=reports.append)
    assert model.path == tmp_path / "run" / "bundle"
    assert reports
    run = nm.read_run(tmp_path / "run")
    assert (run.state, run.model) == ("finished", model)
    history = run.history()
    assert history.index.tolist() == [1]
    assert "validation_jaccard" in history
    assert "Preparing the model for fast predictions" in {report.message for report in reports}
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    fast = [nm.segment(rgb, given).probability for given in (model, tmp_path / "run")]
    with using_backend("torch"):
        expected = nm.segment(rgb, model).probability
    for found in fast:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(nm.MelanomaError, match="the recipe"):
        nm.train({"epochs": "many"}, tmp_path / "other")
    data = {"datasets": [nm.DataSet(data_set), data_set.parent / "missing"]}
    with pytest.raises(nm.DataSetError, match="missing is not a data set"):
        nm.train({**values, "data": data}, tmp_path / "objects")


def test_progress_reaches_the_callback() -> None:
    reports: list[nm.Progress] = []
    list(inputs.to_run(reports.append).track([1, 2], "Counting"))
    assert [(one.done, one.total, one.message) for one in reports] == [(1, 2, "Counting"), (2, 2, "Counting")]


@pytest.mark.parametrize(
    ("modality", "model"),
    [("dermoscopic", "melanoma-small"), ("macroscopic", "lesion-phone"), ("tbp_tile", "melanoma-small")],
)
def test_the_default_classifier_is_the_one_for_the_type_of_photograph(modality: str, model: str) -> None:
    photograph = nm.read_photograph(RGB, modality=modality)
    assert nm.classify(photograph, MASK).model == model


def test_a_cross_validation_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("data_set,image_id,group,fold\n", encoding="utf-8")
    with pytest.raises(nm.RunError, match=r"cross-validation\. Pass that of a fold, such as .*fold-1"):
        nm.read_run(tmp_path)
