"""Measures of a picture that need to know what each place is: how much of a tumour's surface has no epidermis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError, ConfigError, RunError, SaveError, in_words
from napari_melanoma.core.file_names import file_names
from napari_melanoma.core.files import save_error
from napari_melanoma.core.runs import CONCERNS_ALL
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.workflows.depth_readings import SURFACE
from napari_melanoma.workflows.slide_options import SlideOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.workflows.judged_classes import Judged

ULCERATION = {
    "ulceration_share": "share of the surface right over the tumour that has no epidermis, on the map of a tissue model"
}
TISSUE = "tissue"  # folder of the analyses
NO_MAP = "there is no map of the tissue: with --tissue-model name a model that draws epidermis and tumour (skin-demo)"

NO_SCALE = "its row says no scale (mpp_x)"
NO_TUMOUR = "no surface is seen over a tumour"


def tissue_model(name: str) -> str | None:
    """Check a model that is to draw the tissue.

    Returns the same; None where none was named.
    """
    if not name:
        return None
    config = find_bundle(name).config
    if config.task != "segmentation" or not config.is_of_slides or SURFACE not in map(str.lower, config.classes):
        raise BundleError(
            f"'{config.name}' draws {', '.join(config.classes)}: a share of ulceration needs a model of slides that "
            f"draws {SURFACE} and tumour, such as skin-demo."
        )
    return name


def ulceration_shares(judged: Judged, model: str | None, out: Path, run: RunContext) -> tuple[NDArray[np.float64], str]:
    """Measure how much of the tumour's surface lies bare in each picture.

    Returns float64 (picture,), in [0, 1]; NaN without a model, a scale, a tumour, or where no surface is seen over it.
    Of the first picture that has none, what is in its way; empty where all have one.
    """
    found = np.full(len(judged.samples), np.nan)
    if model is None:
        return found, NO_MAP
    first = ""
    names = file_names(f"{sample.domain}-{sample.image_id}" for sample in judged.samples)
    for place, sample in enumerate(run.track(judged.samples, "Drawing the tissue")):
        written = judged.rows.get((sample.domain, sample.image_id), {}).get("mpp_x")
        found[place], why = _share(
            sample, number_of(written), model, out / TISSUE / names[f"{sample.domain}-{sample.image_id}"], run
        )
        first = first or (why and f"{sample.image_id}: {why}")
    return found, first


def _share(sample: Sample, mpp: float, model: str, folder: Path, run: RunContext) -> tuple[float, str]:
    """The share in one picture; where there is none, why."""
    from napari_melanoma.core.runs import RunContext as Quiet
    from napari_melanoma.workflows.analyse_slide import analyse_slide

    run.check()
    if np.isnan(mpp):
        return np.nan, NO_SCALE
    try:
        options = SlideOptions.parse({"model": model, "mpp": mpp}, "the scale in its row (mpp_x)")
    except ConfigError as error:
        return np.nan, str(error)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise save_error(folder, error) from error
    try:
        content = analyse_slide(sample.image, folder, options, Quiet()).content
    except (*CONCERNS_ALL, SaveError, RunError):
        raise
    except Exception as error:  # noqa: BLE001 - of this picture alone; what would ail all of them ends it
        return np.nan, in_words(error)
    told = (content.get("depth") or {}).get("ulcer_share")
    return (np.nan, NO_TUMOUR) if told is None else (float(told), "")
