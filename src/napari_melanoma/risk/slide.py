"""The risk of a slide as the worker is asked about it: told, shown on the slide, and what excites the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import Box


def predict_slide_risk(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Return how likely the melanoma on a slide has spread; kept beside the slide, as ``napari-melanoma risk`` does.

    Returns ``file``: where the answer was written.
    """
    from napari_melanoma.core.files import write_json
    from napari_melanoma.io.results import RISK_FILE, read_slide_result
    from napari_melanoma.risk.inputs import case_of_slide, cut_slide_patches
    from napari_melanoma.risk.prediction import RiskOptions
    from napari_melanoma.risk.predictor import predict_risk
    from napari_melanoma.slides.result_folder import record_slide

    slide, folder = Path(arguments["slide"]), Path(arguments["folder"])
    options = RiskOptions.parse(arguments["options"], "the options of a risk")
    model = _load_model(options.model, run)
    run.report(Progress(1, 3, "Reading the deepest places"))
    known = case_of_slide(folder, arguments.get("row", {}), options.reader)
    pictures = cut_slide_patches(slide, known.lines, read_slide_result(folder), options)
    run.report(Progress(2, 3, "Estimating the risk"))
    answer = predict_risk(pictures, known, model, options)
    record_slide(folder, slide, record_name=True)
    write_json(folder / RISK_FILE, {"file": slide.name, **answer.to_json()})
    return {"file": str(folder / RISK_FILE)}


def explain_slide_risk(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Show on the slide where the network looked when it told the risk, or what spoke for its answer.

    Returns ``file``: where the map was written, a TIFF of float32.
    """
    from napari_melanoma.classification.explanation import explain
    from napari_melanoma.classification.predictor import LesionInput
    from napari_melanoma.risk.slide_files import RiskMap, patch_boxes, write_risk_map
    from napari_melanoma.slides.stitching import compose_patch_maps

    folder, method = Path(arguments["folder"]), arguments["method"]
    model = _load_model(arguments["model"], run)
    answer = _read_prediction(folder, model)
    boxes = patch_boxes(answer)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    known = [LesionInput(rgb, None, answer["known"]) for rgb in patches]
    maps = [explain(model, one, method) for one in run.track(known, "Looking at the patches")]
    values, place = compose_patch_maps(maps, boxes, size)
    return {"file": str(write_risk_map(folder, answer, RiskMap(method, values, place)))}


def find_slide_biomarkers(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Find what the network goes by, and the places of the slide's patches that excite each feature most.

    Features are ranked by how well each tells the classes of the training cases that the bundle remembers apart, as
    ``napari-melanoma biomarkers`` ranks them on a data set.

    Returns ``file``: where the gallery was written.
    """
    from napari_melanoma.risk.slide_files import GALLERY_NOTE, patch_boxes, rank_predicted_features, write_gallery

    folder = Path(arguments["folder"])
    model = _load_model(arguments["model"], run)
    answer = _read_prediction(folder, model)
    boxes = patch_boxes(answer)
    patches, size = _read_patches(Path(arguments["slide"]), boxes)
    looked = run.track(patches, "Looking at the patches")
    maps = [model.run_encoder([model.view(rgb, None)])[0].deepest[0] for rgb in looked]
    return {"file": str(write_gallery(folder, answer, GALLERY_NOTE, rank_predicted_features(model, maps, boxes, size)))}


def _read_prediction(folder: Path, model: Classifier) -> Mapping[str, Any]:
    """The answer that is to be explained; of this model."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.risk.slide_files import patch_boxes, read_risk

    answer = read_risk(folder).prediction
    if not answer or not patch_boxes(answer):
        raise InputError(f"{folder.name}: there is no risk of a slide to explain. Estimate it first.")
    if answer["model"]["fingerprint"] != model.info.fingerprint:
        raise InputError(
            f"{folder.name}: another model than '{model.info.name}' gave the answer. Estimate again first."
        )
    return answer


def _load_model(name: str, run: RunContext) -> Classifier:
    """The network, loaded once a process."""
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, report_loading
    from napari_melanoma.risk.predictor import find_risk_model

    info = find_risk_model(name)
    with report_loading(run):
        return load_classifier_folder(info.path)


def _read_patches(path: Path, boxes: Sequence[Box]) -> tuple[list[NDArray[np.uint8]], tuple[int, int]]:
    """Patches of a slide as a network is shown them, uint8 (row, column, channel=3), and the slide's size in pixels."""
    from napari_melanoma.core.geometry import Box as Part
    from napari_melanoma.risk.inputs import MAX_PX
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.slides.reading.slide import resize_rgb

    found = []
    with open_slide(path) as slide:
        for box in boxes:
            side = min(MAX_PX, max(box.height, box.width))
            index = slide.best_level(min(box.height, box.width) / side)
            down = slide.info.levels[index].downsample
            part = Part(*(round(value / down) for value in (box.top, box.left, box.height, box.width)))
            found.append(resize_rgb(slide.read_region(index, part).astype("uint8", copy=False), side, side))
        return found, (slide.info.levels[0].height, slide.info.levels[0].width)
