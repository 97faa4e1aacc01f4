"""The risk of a slide and its heatmaps, predicted from its files as the worker process does it for the window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import Progress, RunContext

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier


def predict_slide_risk(
    slide: Path, folder: Path, values: dict[str, Any], row: Mapping[str, str], run: RunContext
) -> None:
    """Predict the risk for a slide, and write it to ``risk.json`` in the folder of the slide.

    ``values``: of ``RiskOptions``. ``row``: patient data.
    """
    from napari_melanoma.core.files import write_json
    from napari_melanoma.extensions.risk.inputs import read_slide_case
    from napari_melanoma.extensions.risk.patches import cut_slide_patches
    from napari_melanoma.extensions.risk.prediction import RiskOptions
    from napari_melanoma.extensions.risk.predictor import predict_risk
    from napari_melanoma.io.results import RISK_FILE
    from napari_melanoma.slides.result_folder import record_slide

    options = RiskOptions.parse(values, "the options of the risk prediction")
    model = _load_model(options.model, run)
    run.report(Progress(1, 3, "Reading the positions of greatest depth"))
    case = read_slide_case(folder, row, options.reader)
    patches = cut_slide_patches(slide, case.lines, case.analysis, options)
    run.report(Progress(2, 3, "Estimating the risk"))
    prediction = predict_risk(patches, case, model, options)
    record_slide(folder, slide, record_name=True)
    write_json(folder / RISK_FILE, {"file": slide.name, **prediction.to_json()})


def explain_slide_risk(slide: Path, folder: Path, model: str, method: str, run: RunContext) -> None:
    """Compute a heatmap of the stored risk of a slide, and write it to the folder of the slide.

    ``read_risk(folder).maps[method]`` is the heatmap. ``model``: that of the prediction. ``method``: of ``explain``.
    """
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.extensions.risk.maps import compose_patch_maps, explain_patches, write_risk_map
    from napari_melanoma.extensions.risk.patches import read_stored_patches
    from napari_melanoma.extensions.risk.slide_files import patch_boxes, read_risk

    classifier, prediction = _load_model(model, run), read_risk(folder).prediction
    boxes = patch_boxes(prediction) if prediction else []
    if not boxes:
        raise InputError(f"{folder.name} has no risk prediction of a slide to explain. Estimate the risk first.")
    if prediction["model"]["fingerprint"] != classifier.info.fingerprint:
        raise InputError(
            f"{folder.name}: the risk was predicted by '{prediction['model'].get('name')}', expected "
            f"'{classifier.info.name}'. Estimate the risk again, or select the model of the prediction."
        )
    patches, size = read_stored_patches(slide, boxes)
    maps = explain_patches(classifier, patches, prediction["known"], method, run)
    write_risk_map(folder, prediction, method, compose_patch_maps(maps, boxes, size))


def _load_model(name: str, run: RunContext) -> Classifier:
    """Load the network once per process."""
    from napari_melanoma.extensions.risk.predictor import find_risk_model
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, report_loading

    info = find_risk_model(name)
    with report_loading(run):
        return load_classifier_folder(info.path)
