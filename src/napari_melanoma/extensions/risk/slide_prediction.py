"""The prediction of the risk of a slide from its files, as the worker process does it for the window."""

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
    from napari_melanoma.io.results import RISK_FILE, read_slide_result
    from napari_melanoma.slides.result_folder import record_slide

    options = RiskOptions.parse(values, "the options of the risk prediction")
    model = _load_model(options.model, run)
    run.report(Progress(1, 3, "Reading the positions of greatest depth"))
    case = read_slide_case(folder, row, options.reader)
    patches = cut_slide_patches(slide, case.lines, read_slide_result(folder), options)
    run.report(Progress(2, 3, "Estimating the risk"))
    prediction = predict_risk(patches, case, model, options)
    record_slide(folder, slide, record_name=True)
    write_json(folder / RISK_FILE, {"file": slide.name, **prediction.to_json()})


def _load_model(name: str, run: RunContext) -> Classifier:
    """Load the network once per process."""
    from napari_melanoma.extensions.risk.predictor import find_risk_model
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, report_loading

    info = find_risk_model(name)
    with report_loading(run):
        return load_classifier_folder(info.path)
