"""Worker functions for the risk of a slide: prediction, explanation maps and biomarkers."""

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
    """Predict the risk for a slide and save it as ``napari-melanoma risk`` does; ``file`` is the path of the result."""
    from napari_melanoma.core.files import write_json
    from napari_melanoma.io.results import RISK_FILE, read_slide_result
    from napari_melanoma.risk.inputs import case_of_slide
    from napari_melanoma.risk.patches import cut_slide_patches
    from napari_melanoma.risk.prediction import RiskOptions
    from napari_melanoma.risk.predictor import predict_risk
    from napari_melanoma.slides.result_folder import record_slide

    slide, folder = Path(arguments["slide"]), Path(arguments["folder"])
    options = RiskOptions.parse(arguments["options"], "the options of the risk prediction")
    model = _load_model(options.model, run)
    run.report(Progress(1, 3, "Reading the positions of greatest depth"))
    known = case_of_slide(folder, arguments.get("row", {}), options.reader)
    patches = cut_slide_patches(slide, known.lines, read_slide_result(folder), options)
    run.report(Progress(2, 3, "Estimating the risk"))
    prediction = predict_risk(patches, known, model, options)
    record_slide(folder, slide, record_name=True)
    write_json(folder / RISK_FILE, {"file": slide.name, **prediction.to_json()})
    return {"file": str(folder / RISK_FILE)}


def explain_slide_risk(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Write a map of the contributions to the prediction; ``file`` is the path of the map, a TIFF of float32."""
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.explanation import explain
    from napari_melanoma.risk.slide_files import RiskMap, patch_boxes, write_risk_map
    from napari_melanoma.slides.maps import compose_patch_maps

    folder, method = Path(arguments["folder"]), arguments["method"]
    model = _load_model(arguments["model"], run)
    prediction = _read_prediction(folder, model)
    boxes = patch_boxes(prediction)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    known = [LesionInput(rgb, None, prediction["known"]) for rgb in patches]
    maps = [explain(model, one, method) for one in run.track(known, "Explaining the patches")]
    values, place = compose_patch_maps(maps, boxes, size)
    return {"file": str(write_risk_map(folder, prediction, RiskMap(method, values, place)))}


def find_slide_biomarkers(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Rank the features of the network, and find the positions in the patches of the slide that activate each most.

    Features are ranked by how well each separates the classes of the training cases stored in the bundle, as
    ``napari-melanoma biomarkers`` does for a data set. Returns ``file``: path of the gallery.
    """
    from napari_melanoma.risk.slide_files import GALLERY_NOTE, patch_boxes, rank_predicted_features, write_gallery

    folder = Path(arguments["folder"])
    model = _load_model(arguments["model"], run)
    prediction = _read_prediction(folder, model)
    boxes = patch_boxes(prediction)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    tracked = run.track(patches, "Computing features of the patches")
    maps = [model.run_encoder([model.crop_image(rgb, None)])[0].deepest_maps[0] for rgb in tracked]
    return {
        "file": str(write_gallery(folder, prediction, GALLERY_NOTE, rank_predicted_features(model, maps, boxes, size)))
    }


def _read_prediction(folder: Path, model: Classifier) -> Mapping[str, Any]:
    """Read the prediction to explain; it must be of this model."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.risk.slide_files import patch_boxes, read_risk

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
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, report_loading
    from napari_melanoma.risk.predictor import find_risk_model

    info = find_risk_model(name)
    with report_loading(run):
        return load_classifier_folder(info.path)


def _read_patches(path: Path, boxes: Sequence[Box]) -> tuple[list[NDArray[np.uint8]], tuple[int, int]]:
    """Read patches of a slide, uint8 (row, column, channel=3), and the size of the slide in pixels."""
    from napari_melanoma.risk.patches import MAX_PX
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(path) as slide:
        found = [slide.read_square(box, min(MAX_PX, max(box.height, box.width))) for box in boxes]
        return found, (slide.info.levels[0].height, slide.info.levels[0].width)
