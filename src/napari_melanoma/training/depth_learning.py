"""What a recipe says of the depth that a classifier learns to tell beside the class, and what data decide; no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.analysis.depth_told import on_scale
from napari_melanoma.core.config import Config
from napari_melanoma.core.depth import DEPTH, DepthScale, MeasuredDepth
from napari_melanoma.core.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.tabular import TabularEncoding
    from napari_melanoma.models.zoo.biomarker import BiomarkerConfig
    from napari_melanoma.training.class_batch import ClassData

NETWORK = "biomarker"  # the architecture with a depth module
FEWEST = 3  # cases of which anything can be said


class DepthConfig(Config):
    """The depth as a second thing to learn; cases of which it is not known teach the class alone."""

    column: str = Field(DEPTH, min_length=1, description="column of the table that holds it, in mm")
    weight: float = Field(1.0, gt=0, le=100, description="of its loss beside that of the class")
    loss: Literal["smooth_l1", "gaussian_nll"] = Field(
        "smooth_l1",
        description="smooth_l1: absolute error, squared where it is small; gaussian_nll: the network tells how sure it "
        "is, which model.options.heteroscedastic asks for",
    )


def misfit(
    depth: DepthConfig | None, options: BiomarkerConfig | None, region: str, scale: tuple[float, float], aspect: float
) -> str:
    """Say what of a recipe does not go with a depth in mm.

    A sentence; "" where all is well.
    """
    tells = options is not None and options.tells_depth
    if depth is None:
        return (
            "the network has a depth module, and nothing to teach it: add [classification.depth], or set "
            "model.options.use_depth = false"
            if tells
            else ""
        )
    if not tells:
        return (
            f"classification.depth needs a network with a depth module: set model.architecture = '{NETWORK}' with "
            "use_depth, or leave it out"
        )
    assert options is not None
    if (depth.loss == "gaussian_nll") != options.heteroscedastic:
        return "the loss gaussian_nll and model.options.heteroscedastic go together: set both, or neither"
    if region != "photograph":
        return (
            "a depth in mm needs pictures of one scale, and the square around a lesion is of any: set "
            "classification.view.region = 'photograph'"
        )
    if scale != (1, 1) or aspect != 1:
        return (
            f"a picture that is magnified shows another depth: set augmentation.scale = [1, 1] and aspect = 1 (found "
            f"{list(scale)} and {aspect:g})"
        )
    return ""


def depth_options(options: BiomarkerConfig, data: ClassData) -> dict[str, Any]:
    """Give what the data decide of a network that tells a depth.

    Returns ``depth_mean`` and ``depth_std`` on the network's scale and, where the classifier gets measured depths,
    where they stand among its inputs.
    """
    found: dict[str, Any] = {}
    if options.tells_depth:
        plain = on_scale(data.learn.depth_mm, DepthScale(log=options.depth_log))
        known = plain[~np.isnan(plain)]
        if len(known) < FEWEST:
            raise DataSetError(
                f"{len(known)} of {len(plain)} images to learn from have a depth, expected {FEWEST} at least. Fill in "
                "the column that classification.depth.column names, or leave classification.depth out."
            )
        found = {"depth_mean": round(float(known.mean()), 6), "depth_std": round(float(known.std()) or 1.0, 6)}
    if options.tells_depth and options.depth_source == "measured":
        found["measured"] = _place_of(data.encoding).model_dump(mode="json")
    return found


def depth_metrics(said_mm: NDArray[np.float64], true_mm: NDArray[np.float64]) -> dict[str, float]:
    """Measure depths that were told.

    ``said_mm``, ``true_mm``: float64 (image,); NaN where it is not known. Returns ``tuning_depth_mae_mm`` and
    ``tuning_depth_r`` (Pearson; 0 where all that was said is the same); empty where hardly any is known.
    """
    known = ~np.isnan(true_mm)
    said, true = said_mm[known], true_mm[known]
    if len(true) < FEWEST:
        return {}
    together = float(said.std() * true.std())
    related = float(((said - said.mean()) * (true - true.mean())).mean()) / together if together > 0 else 0.0
    return {"tuning_depth_mae_mm": float(np.abs(said - true).mean()), "tuning_depth_r": related}


def _place_of(encoding: TabularEncoding | None) -> MeasuredDepth:
    """Where the measured depth stands among the inputs."""
    columns = encoding.numbers if encoding else ()
    for column in columns:
        if column.name == DEPTH and column.encoding == "standardised" and column.has_indicator:
            assert encoding is not None
            place = [one.field for one in encoding.continuous].index(DEPTH)
            return MeasuredDepth(place=place, mean=column.mean, std=column.std)
    raise DataSetError(
        f'depth_source = "measured" needs {{ name = "{DEPTH}", missing = "unknown" }} among '
        "classification.tabular.numbers. Add it, or set model.options.depth_source to predicted."
    )
