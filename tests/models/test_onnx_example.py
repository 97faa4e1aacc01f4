"""The example beside an exported ONNX file reproduces the predictions of the product."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from napari_melanoma.core.errors import SaveError
from napari_melanoma.imaging.masks import fill_mask_holes
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask, refine_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle
from napari_melanoma.models.export import export_bundle
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

pytestmark = pytest.mark.slow

PATIENTS = ({}, {"age": "71"}, {"age": "8", "sex": "Female"}, {"sex": "unheard of"})
SIZES = ((150, 210), (620, 540))  # a narrow Gaussian, and one on a coarser grid


def load_example(folder: Path) -> ModuleType:
    """Import the file as written by the export."""
    spec = importlib.util.spec_from_file_location("exported_example", folder / "example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A classifier with random weights that uses everything that an export has to contain."""
    import torch

    from napari_melanoma.models.zoo import build_network

    values: dict[str, Any] = {
        "name": "random",
        "title": "Random",
        "task": "classification",
        "architecture": "image_tabular",
        "input_size": 64,
        "classes": ["melanoma", "nevus", "other"],
        "mean": [0.6, 0.5, 0.4],
        "std": [0.2, 0.3, 0.1],
        "tabular": {
            "numbers": [{"name": "age", "mean": 50.0, "std": 20.0, "median": 47.0}],
            "words": [{"name": "sex", "words": ["male", "female"]}],
        },
        "classifier": {
            "positive": "melanoma",
            "test_time_augmentation": True,
            "temperature": 0.3,
            "bias": [0.4, -0.1, -0.3],
            "view": {"margin": 0.25},
        },
    }
    config = BundleConfig.parse(values, "the test")
    assert config.tabular is not None
    options = {"encoder": "test_efficientnet", "classes": 3, "tabular": config.tabular.shape.model_dump()}
    torch.manual_seed(0)
    config = config.model_copy(update={"options": options})
    network = build_network("image_tabular", options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "random", config, network, "# random\n")


@pytest.fixture(scope="module")
def exported(tiny_bundle: BundleInfo, classifier: BundleInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_bundle(tiny_bundle, folder / "tiny.onnx")
    export_bundle(classifier, folder / "random.onnx")
    return folder


def save_phantom(path: Path, size: tuple[int, int]) -> Path:
    rgb = lesion_phantom(LesionPhantomConfig(seed=5, size=size)).rgb
    Image.fromarray(rgb).save(path)
    return path


def save_turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = lesion_phantom(LesionPhantomConfig(seed=6, size=(120, 170))).rgb
    Image.fromarray(rgb).save(path.with_suffix(".jpg"), exif=exif)
    return path.with_suffix(".jpg")


def save_transparent(path: Path) -> Path:
    rgb = lesion_phantom(LesionPhantomConfig(seed=7, size=(90, 130))).rgb
    alpha = np.linspace(0, 255, rgb.shape[1]).astype(np.uint8)
    Image.fromarray(np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])])).save(path)
    return path


def save_with_profile(path: Path) -> Path:
    rgb = lesion_phantom(LesionPhantomConfig(seed=8, size=(90, 130))).rgb
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # cannot be applied to RGB
    Image.fromarray(rgb).save(path, icc_profile=profile)
    return path


def segment(info: BundleInfo, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    from napari_melanoma.lesion.segmentation import Segmenter

    return Segmenter.load(info, "cpu").probability(rgb)


@pytest.mark.parametrize("size", SIZES)
def test_the_example_segments_as_the_product_does(
    exported: Path, tiny_bundle: BundleInfo, size: tuple[int, int], tmp_path: Path
) -> None:
    example = load_example(exported)
    rgb = read_photograph(save_phantom(tmp_path / "photo.png", size)).rgb
    session, config = example.load_model(exported / "tiny.onnx")
    expected, found = segment(tiny_bundle, rgb), example.lesion_probability(session, config, rgb)
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4)
    threshold = float(np.quantile(expected, 0.7))  # the random network has many parts and holes there
    mask = example.lesion_mask(expected, threshold)
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask, make_mask(expected, threshold, RefinementConfig()))


@pytest.mark.parametrize("size", SIZES)
def test_the_example_has_the_closer_views_of_the_product(
    exported: Path, tiny_bundle: BundleInfo, size: tuple[int, int], tmp_path: Path
) -> None:
    example = load_example(exported)
    rgb = read_photograph(save_phantom(tmp_path / "photo.png", size)).rgb
    session, config = example.load_model(exported / "tiny.onnx")
    whole = example.lesion_probability(session, config, rgb)
    views = {"closer_views": (1.4, 2.4), "threshold": float(np.quantile(whole, 0.998))}
    found = example.lesion_probability(session, {**config, **views}, rgb)
    info = replace(tiny_bundle, config=tiny_bundle.config.model_copy(update=views))
    np.testing.assert_allclose(found, segment(info, rgb), atol=1e-4)
    assert (found != whole).any()


@pytest.mark.parametrize("views", [4, 8])
def test_an_exported_network_averages_turned_views(tiny_bundle: BundleInfo, views: int, tmp_path: Path) -> None:
    info = replace(tiny_bundle, config=tiny_bundle.config.model_copy(update={"turned_views": views}))
    export_bundle(info, tmp_path / "turned.onnx")
    example = load_example(tmp_path)
    session, config = example.load_model(tmp_path / "turned.onnx")
    rgb = read_photograph(save_phantom(tmp_path / "photo.png", (200, 200))).rgb
    found = example.lesion_probability(session, config, rgb)
    np.testing.assert_allclose(found, segment(info, rgb), atol=1e-6)
    turned = segment(info, np.ascontiguousarray(np.rot90(rgb)))
    np.testing.assert_allclose(np.rot90(turned, -1), found, atol=2e-5)  # resizing rounds once for each axis
    assert np.abs(found - segment(tiny_bundle, rgb)).max() > 1e-4


def test_the_example_leaves_out_a_black_frame(exported: Path, tiny_bundle: BundleInfo, classifier: BundleInfo) -> None:
    from napari_melanoma.classification.classifier import Classifier

    example, model = load_example(exported), Classifier.load(classifier, "cpu")
    rgb = np.pad(lesion_phantom(LesionPhantomConfig(seed=5, size=SIZES[0])).rgb, ((40, 10), (0, 60), (0, 0)))
    session, config = example.load_model(exported / "tiny.onnx")
    found = example.lesion_probability(session, config, rgb)
    np.testing.assert_allclose(found, segment(tiny_bundle, rgb), atol=1e-4)
    assert not found[:40].any()
    mask = np.zeros(rgb.shape[:2], bool)
    mask[60:180, 20:150] = True
    for row in (0, 100):  # a lesion may also be drawn in the frame
        mask[row, 0] = True
        _, settings = example.load_model(exported / "random.onnx")
        np.testing.assert_array_equal(example.crop_lesion(rgb, mask, settings), model.crop_image(rgb, mask))


@pytest.mark.parametrize("seed", range(6))
def test_the_example_fills_and_selects_as_the_product_does(exported: Path, seed: int) -> None:
    example = load_example(exported)
    rng = np.random.default_rng(seed)
    mask = rng.random((37, 53)) < (0.35, 0.45, 0.6)[seed % 3]
    outside = example.label_components(np.pad(~mask, 1, constant_values=True), diagonal=False)
    np.testing.assert_array_equal((outside != outside[0, 0])[1:-1, 1:-1], fill_mask_holes(mask))
    unsmoothed = RefinementConfig(smoothing=0)
    labels = example.label_components(fill_mask_holes(mask), diagonal=True)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    np.testing.assert_array_equal(labels == areas.argmax(), refine_mask(mask, unsmoothed))
    assert not example.lesion_mask(np.zeros((20, 30), np.float32), 0.5).any()


LESIONS = {
    "in the middle": (slice(50, 80), slice(70, 120)),
    "in a corner": (slice(0, 25), slice(170, 210)),
    "longer than the shorter side": (slice(60, 90), slice(10, 200)),
    "the whole photograph": (slice(0, 150), slice(0, 210)),
}


@pytest.mark.parametrize("patient", PATIENTS, ids=str)
@pytest.mark.parametrize("lesion", LESIONS)
def test_the_example_classifies_as_the_product_does(
    exported: Path, classifier: BundleInfo, lesion: str, patient: dict[str, str]
) -> None:
    from napari_melanoma.classification.classifier import Classifier, LesionInput

    example, model = load_example(exported), Classifier.load(classifier, "cpu")
    rgb = lesion_phantom(LesionPhantomConfig(seed=5, size=SIZES[0])).rgb
    mask = np.zeros(rgb.shape[:2], bool)
    mask[LESIONS[lesion]] = True
    session, config = example.load_model(exported / "random.onnx")
    np.testing.assert_array_equal(example.crop_lesion(rgb, mask, config), model.crop_image(rgb, mask))
    expected = model.calibration.probabilities(model.logits([LesionInput(rgb, mask, patient)]))[0]
    found = example.class_probabilities(session, config, rgb, mask, patient)
    assert list(found) == list(classifier.config.classes)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-4)


@pytest.mark.parametrize("save", [save_turned, save_transparent, save_with_profile])
def test_the_example_reads_photographs_as_the_product_does(
    exported: Path, save: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = save(tmp_path / "photo.png")
    np.testing.assert_array_equal(load_example(exported).read_photograph(path), read_photograph(path).rgb)


def test_the_example_runs_as_a_program(exported: Path, tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    photo = save_phantom(tmp_path / "photo.png", SIZES[0])

    def run(*arguments: str) -> str:
        command = [sys.executable, str(exported / "example.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    run(str(exported / "tiny.onnx"), str(photo))
    expected = make_mask(
        segment(tiny_bundle, read_photograph(photo).rgb), tiny_bundle.config.threshold, RefinementConfig()
    )
    found = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    assert (found != expected).mean() < 0.001
    found[40:90, 60:120] = True
    Image.fromarray(found).save(tmp_path / "lesion.png")
    text = run(
        str(exported / "random.onnx"), str(photo), "--mask", "lesion.png", "--set", "age=54", "--set", "sex=female"
    )
    assert [line.split(":")[0] for line in text.splitlines()] == ["melanoma", "nevus", "other"]


@pytest.mark.parametrize(
    ("arguments", "mask_size", "message"),
    [
        (("--set", "sex=woman"), (210, 150), "--set sex=woman: expected one of the words male, female."),
        (("--set", "gender=male"), (210, 150), "expected one of the columns of this model: age, sex."),
        (("--set", "age=nan"), (210, 150), "--set age=nan: expected a number."),
        ((), (150, 210), "has (210, 150) rows and columns, the upright photograph (150, 210)."),
    ],
    ids=["unknown word", "unknown column", "no number", "turned mask"],
)
def test_the_example_rejects_different_preprocessing(
    exported: Path, tmp_path: Path, arguments: tuple[str, ...], mask_size: tuple[int, int], message: str
) -> None:
    photo, mask = save_phantom(tmp_path / "photo.png", SIZES[0]), tmp_path / "mask.png"
    Image.new("L", mask_size, 255).save(mask)
    command = [sys.executable, exported / "example.py", exported / "random.onnx", photo, "--mask", mask, *arguments]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert message in refused.stderr


def test_an_own_file_named_like_the_example_is_kept(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    own = tmp_path / "example.py"
    own.write_text("mine = 1\n", encoding="utf-8")
    with pytest.raises(SaveError, match="is not the example of this program"):
        export_bundle(tiny_bundle, tmp_path / "tiny.onnx")
    assert own.read_text(encoding="utf-8") == "mine = 1\n"
    assert not (tmp_path / "tiny.onnx").exists()


def test_the_example_reproduces_models_on_real_photographs(
    shared_data: Path, tmp_path: Path, melanoma_bundle: BundleInfo
) -> None:
    from napari_melanoma.classification.classifier import Classifier, LesionInput

    small = find_bundle("lesion-small")
    for info in (small, melanoma_bundle):
        export_bundle(info, tmp_path / f"{info.name}.onnx")
    example, model = load_example(tmp_path), Classifier.load(melanoma_bundle, "cpu")
    session, config = example.load_model(tmp_path / "lesion-small.onnx")
    classifying = example.load_model(tmp_path / f"{melanoma_bundle.name}.onnx")
    with (shared_data / "ph2" / "metadata.csv").open(encoding="utf-8") as file:
        names = [row["image_id"] for row in csv.DictReader(file)][::40]
    for name in names:
        path = shared_data / "ph2" / "images" / f"{name}.jpg"
        rgb = read_photograph(path).rgb
        np.testing.assert_array_equal(example.read_photograph(path), rgb)
        expected, found = segment(small, rgb), example.lesion_probability(session, config, rgb)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        mask = make_mask(expected, small.config.threshold, RefinementConfig())
        assert (example.lesion_mask(found, small.config.threshold) != mask).mean() < 0.001
        patient = {"age": "54", "sex": "female"}
        probabilities = model.calibration.probabilities(model.logits([LesionInput(rgb, mask, patient)]))[0]
        answer = example.class_probabilities(*classifying, rgb, mask, patient)
        np.testing.assert_allclose(list(answer.values()), probabilities, atol=1e-3)
