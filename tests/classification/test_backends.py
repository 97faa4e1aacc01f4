"""Classification with ONNX Runtime equals that with torch, and does not import it; heatmaps with gradients need it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from patience import LONG_PATIENCE_S

from napari_melanoma.classification import explanation
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.explanation import compute_evidence, explain
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import MissingPackage
from napari_melanoma.imaging.preprocessing import ClassifierView
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import to_tensor

ROW = {"age": "54", "sex": "male"}
CLASSIFY = """
import json, sys
import numpy as np
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.classify import classify
from napari_melanoma.classification.explanation import explain
from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.core.context import RunContext
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.models.installed_bundles import find_classifier
from pathlib import Path

model = Classifier.load(find_classifier("melanoma-small"), "cpu")
photograph = read_photograph(Path(sys.argv[1]))
mask = np.ones(photograph.rgb.shape[:2], bool)
classify(photograph, mask, {"age": "54"}, model, ClassifyOptions(), run=RunContext())
heat = explain(model, LesionInput(photograph.rgb, mask, {"age": "54"}))
loaded = sorted({"torch", "torchvision", "timm", "captum"} & set(sys.modules))
sys.stdout.write(json.dumps([model.network.backend, heat.shape, loaded]))
"""


@pytest.fixture(scope="module")
def lesion() -> LesionInput:
    """A dark ellipse on noise in the color of skin."""
    rgb = np.random.default_rng(0).integers(140, 200, (150, 200, 3)).astype(np.uint8)
    rows, columns = np.indices(rgb.shape[:2])
    mask = np.hypot((rows - 70) / 40, (columns - 110) / 55) < 1
    rgb[mask] //= 3
    return LesionInput(rgb, mask, ROW)


def check_equal_evidence(method: str, lesion: LesionInput, *models: Classifier) -> None:
    views = [model.make_view(lesion.rgb, lesion.mask) for model in models]
    pairs = zip(models, views, strict=True)
    evidence = [compute_evidence(model, view, ROW, method, 0, RunContext()) for model, view in pairs]
    assert np.ptp(evidence[0]) > 0.02
    np.testing.assert_allclose(*evidence, atol=1e-3)


@pytest.mark.slow
def test_both_back_ends_predict_the_same(lesion: LesionInput, melanoma_bundle: BundleInfo) -> None:
    onnx, torch = (Classifier.load(melanoma_bundle, "cpu", backend) for backend in ("onnxruntime", "torch"))
    assert (onnx.network.backend, torch.network.backend) == ("onnxruntime", "torch")
    encoded = [model.run_encoder([model.crop_image(lesion.rgb, lesion.mask)] * 2) for model in (onnx, torch)]
    logits = [model.run_head(output, [ROW, {}]) for model, output in zip((onnx, torch), encoded, strict=True)]
    probabilities = [onnx.calibration.probabilities(values) for values in logits]
    np.testing.assert_allclose(*probabilities, atol=1e-3)
    np.testing.assert_allclose(encoded[0][0].embedding, encoded[1][0].embedding, atol=1e-3)
    assert onnx.view_offset == pytest.approx(torch.view_offset, abs=0.1)
    check_equal_evidence("cam", lesion, onnx, torch)


@pytest.mark.slow
def test_a_gradient_heatmap_loads_the_torch_network(lesion: LesionInput, melanoma_bundle: BundleInfo) -> None:
    onnx, torch = (Classifier.load(melanoma_bundle, "cpu", backend) for backend in ("onnxruntime", "torch"))
    assert torch.torch_network is torch.network.network  # type: ignore[attr-defined]
    check_equal_evidence("grad_cam", lesion, onnx, torch)


@pytest.mark.slow
def test_classification_with_a_heatmap_does_not_import_torch(tmp_path: Any, lesion: LesionInput) -> None:
    from napari_melanoma.io.results import write_rgb

    write_rgb(tmp_path / "photograph.png", lesion.rgb)
    command = [sys.executable, "-c", CLASSIFY, str(tmp_path / "photograph.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["onnxruntime", [150, 200], []]


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
@pytest.mark.slow
def test_a_gradient_heatmap_without_torch_says_what_to_do(
    classifier_bundle: BundleInfo, picture: Callable[..., Any], method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesion = LesionInput(picture(np.random.default_rng(3), True).rgb)
    classifier = Classifier.load(classifier_bundle, "cpu")
    missing = {"torch", "captum"}
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None if name in missing else name)
    with pytest.raises(MissingPackage, match=r"torch and captum, .* pip install torch captum, or use the method cam"):
        explain(classifier, lesion, method)


@pytest.mark.parametrize("side", [96, 75])
@pytest.mark.slow
def test_occlusion_equals_that_of_captum(classifier_bundle: BundleInfo, picture: Callable[..., Any], side: int) -> None:
    """Also for a view that the patches do not divide."""
    import torch
    from captum.attr import Occlusion

    from napari_melanoma.classification.explanation_networks import ClassLogOdds

    classifier, reports = Classifier.load(classifier_bundle, "cpu"), list[Progress]()
    run = RunContext(reports.append)
    rgb = picture(np.random.default_rng(3), True, side).rgb
    view = ClassifierView(classifier.make_view(rgb, None).box, rgb)
    table = classifier.table_inputs({"age": "50"})
    evidence = compute_evidence(classifier, view, {"age": "50"}, "occlusion", 1, run)

    inputs = [torch.from_numpy(values) for values in table.values()]
    network = ClassLogOdds(classifier.torch_network, (inputs[0], inputs[1]), 1, RunContext())
    images = [to_tensor([pixels], classifier.info.config) for pixels in (rgb, explanation._cover_view(view))]
    patch = side // explanation.PATCHES_PER_SIDE
    window, strides = (3, patch, patch), (3, patch // 2, patch // 2)
    with torch.no_grad():
        expected = Occlusion(network).attribute(images[0], window, strides=strides, baselines=images[1])
    np.testing.assert_allclose(evidence, expected[0, 0].numpy(), atol=1e-4)
    assert (reports[-1].done, reports[0].total) == (reports[-1].total, None)
