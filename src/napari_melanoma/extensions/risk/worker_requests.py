"""Requests to the worker process for the risk of a slide: prediction, explanation maps and biomarkers.

Each takes its arguments as a dictionary of plain values: ``slide``, ``folder`` and others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import Progress
from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.core.context import RunContext


def predict_slide_risk(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Predict the risk for a slide, and write it to ``risk.json`` in the folder of the slide.

    ``arguments``: ``slide``, ``folder``, ``options`` (of ``RiskOptions``) and ``row`` (patient data; optional). Returns
    the path of the result as ``file``.
    """
    from napari_melanoma.core.files import write_json
    from napari_melanoma.extensions.risk.inputs import read_slide_case
    from napari_melanoma.extensions.risk.patches import cut_slide_patches
    from napari_melanoma.extensions.risk.prediction import RiskOptions
    from napari_melanoma.extensions.risk.predictor import predict_risk
    from napari_melanoma.io.results import RISK_FILE, read_slide_result
    from napari_melanoma.slides.result_folder import record_slide

    slide, folder = Path(arguments["slide"]), Path(arguments["folder"])
    options = RiskOptions.parse(arguments["options"], "the options of the risk prediction")
    model = _load_model(options.model, run)
    run.report(Progress(1, 3, "Reading the positions of greatest depth"))
    case = read_slide_case(folder, arguments.get("row", {}), options.reader)
    patches = cut_slide_patches(slide, case.lines, read_slide_result(folder), options)
    run.report(Progress(2, 3, "Estimating the risk"))
    prediction = predict_risk(patches, case, model, options)
    record_slide(folder, slide, record_name=True)
    write_json(folder / RISK_FILE, {"file": slide.name, **prediction.to_json()})
    return {"file": str(folder / RISK_FILE)}


def explain_slide_risk(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Write an explanation map of the prediction in the folder of a slide.

    ``arguments``: ``slide``, ``folder``, ``model`` and ``method`` (one of ``MAP_METHODS``). Returns the path of the
    map, a float32 TIFF file, as ``file``.
    """
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.explanation import explain
    from napari_melanoma.extensions.risk.slide_files import RiskMap, patch_boxes, write_risk_map
    from napari_melanoma.slides.maps import compose_patch_maps

    folder, method = Path(arguments["folder"]), arguments["method"]
    model = _load_model(arguments["model"], run)
    prediction = _read_prediction(folder, model)
    boxes = patch_boxes(prediction)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    inputs = [LesionInput(rgb, None, prediction["known"]) for rgb in patches]
    maps = [explain(model, lesion_input, method) for lesion_input in run.track(inputs, "Explaining the patches")]
    values, placement = compose_patch_maps(maps, boxes, size)
    return {"file": str(write_risk_map(folder, prediction, RiskMap(method, values, placement)))}


def find_slide_biomarkers(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Rank the features of a network, and find the positions in the patches of a slide where each is strongest.

    Features are ranked by how well each separates the classes of the training cases stored in the bundle;
    ``napari-melanoma biomarkers`` does this for a data set.

    ``arguments``: ``slide``, ``folder`` and ``model``. Returns the path of the gallery as ``file``.
    """
    from napari_melanoma.extensions.risk.slide_files import (
        GALLERY_NOTE,
        patch_boxes,
        rank_predicted_features,
        write_gallery,
    )

    folder = Path(arguments["folder"])
    model = _load_model(arguments["model"], run)
    prediction = _read_prediction(folder, model)
    boxes = patch_boxes(prediction)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    tracked = run.track(patches, "Computing features of the patches")
    encoded = [model.run_encoder([model.crop_image(rgb, None)])[0] for rgb in tracked]
    maps = [patch.deepest_maps[0, : patch.image_maps] for patch in encoded]
    return {
        "file": str(write_gallery(folder, prediction, GALLERY_NOTE, rank_predicted_features(model, maps, boxes, size)))
    }


def _read_prediction(folder: Path, model: Classifier) -> Mapping[str, Any]:
    """Read the prediction to explain; raise an error if it is missing or was made by another model."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.extensions.risk.slide_files import patch_boxes, read_risk

    prediction = read_risk(folder).prediction
    if not prediction or not patch_boxes(prediction):
        raise InputError(f"{folder.name} has no risk prediction of a slide to explain. Run the risk prediction first.")
    if prediction["model"]["fingerprint"] != model.info.fingerprint:
        raise InputError(
            f"{folder.name}: the risk was predicted by another model than '{model.info.name}'. Predict it again first."
        )
    return prediction


def _load_model(name: str, run: RunContext) -> Classifier:
    """Load the network once per process."""
    from napari_melanoma.extensions.risk.predictor import find_risk_model
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, report_loading

    info = find_risk_model(name)
    with report_loading(run):
        return load_classifier_folder(info.path)


def _read_patches(path: Path, boxes: Sequence[Box]) -> tuple[list[NDArray[np.uint8]], tuple[int, int]]:
    """Read patches of a slide, uint8 (row, column, channel=3), and the height and width of the slide in pixels."""
    from napari_melanoma.extensions.risk.patches import MAX_PX
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(path) as slide:
        patches = [slide.read_square(box, min(MAX_PX, max(box.height, box.width))) for box in boxes]
        return patches, (slide.info.levels[0].height, slide.info.levels[0].width)
