"""What a cohort is asked for beside the options of its slides, and of which settings its results are."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import BundleError
from napari_melanoma.workflows.cohort.manifest import CohortSettings
from napari_melanoma.workflows.slide_options import SlideOptions

ANSWERS = ("lesions", "score", "target", "prevalence")  # what is made of the tiles


class CohortOptions(Config):
    """Who shares the work, and how often a slide is tried."""

    processes: int = Field(1, ge=1, le=1024, description="processes on this machine; plays no part with a scheduler")
    scheduler: str = Field("", description="address or file of a scheduler of dask; empty: processes on this machine")
    tries: int = Field(3, ge=1, le=100, description="how often a slide is begun that fails by no fault of its own")


def settings_of(options: SlideOptions) -> CohortSettings:
    """Give what the results of a cohort depend on; who computes them, and how fast, is no part of it.

    JSON-able; of files their names.
    """
    answers = options.model_dump(mode="json", include=set(ANSWERS))
    return CohortSettings({**options.decisive, **_model(options), **_files(options)}, answers)


def _files(options: SlideOptions) -> dict[str, Any]:
    """Names of the files that options name."""
    files = {"weights": options.weights, "tissue_mask": options.tissue_mask, "stain_reference": options.stain_reference}
    return {name: path.name for name, path in files.items() if path is not None}


def _model(options: SlideOptions) -> dict[str, Any]:
    """Name and content of a bundle: another one may have taken its name meanwhile."""
    from napari_melanoma.models.registry import DEFAULT_TILE_MODEL, find_bundle

    name = options.model or DEFAULT_TILE_MODEL
    try:
        bundle = find_bundle(name)
    except BundleError:  # an encoder, or nothing, of which loading tells
        return {"model": name}
    return {"model": bundle.name, "model_weights": bundle.fingerprint[:16]}
