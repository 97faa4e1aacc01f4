"""Options of a slide analysis, the settings derived from them, and checks of scale and validity."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config, omit_unset
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.core.geometry import UM_PER_MM
from napari_melanoma.core.validity import ScaleMatch, Validity, ValidityInputs, is_scale_refused
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.slide_store import FAILED, SlideResult
from napari_melanoma.models.inference import Device
from napari_melanoma.phantoms import is_phantom
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.scores import SlideScoreConfig
from napari_melanoma.slides.tile_models import TileModelInfo
from napari_melanoma.slides.tiling import MIN_TISSUE, Border, TileGrid
from napari_melanoma.slides.tissue import TissueConfig

DENSE_OVERLAP = 0.125  # of a tile's side: overlap over which neighboring dense maps are blended
DIGEST_DIGITS = 16  # digits of the hash that identifies an image
EXECUTION_OPTIONS = (  # options that have no effect on the predictions of tiles
    "weights",
    "download",
    "device",
    "precision",
    "batch_size",
    "workers",
    "lesions",
    "score",
    "target",
    "prevalence",
    "patient",
    "metadata",
    "accept_scale",
)
FILE_OPTIONS = ("tissue_mask", "stain_reference", "tumor_outlines")  # whose content counts, not their path
OUT_OF_DISTRIBUTION_SHARE = 0.1  # accepted share of out-of-distribution tiles among the sampled ones


class SlideOptions(Config):
    """Options of the analysis of a slide."""

    model: str = Field(
        "",
        description="a slide model, the folder of a bundle or run, or an encoder: encoder:BUNDLE, timm:NAME, uni ...; "
        "empty: the default model",
    )
    weights: Path | None = Field(None, title="Weights file", description="local file with an encoder's weights")
    download: bool = Field(
        False,
        title="Allow download",
        description="allow downloading an encoder's published weights; the license is shown",
    )
    mpp: float | None = Field(
        None,
        title="Slide pixel size (µm)",
        ge=0.01,
        le=100,
        description="micrometers per pixel of the slide; by default as stated in its file",
    )
    mpp_y: float | None = Field(
        None,
        title="Slide pixel height (µm)",
        ge=0.01,
        le=100,
        description="height of a pixel of the slide in micrometers, if it is not square; by default mpp, its width",
    )
    accept_scale: bool = Field(
        False,
        title="Allow wrong scale",
        description="analyze although the scale is far from the model's; outputs are marked as not valid",
    )
    tile_mpp: float | None = Field(
        None,
        title="Pixel size (µm)",
        gt=0,
        le=100,
        description="micrometers per pixel of a tile; by default as in the model's training",
    )
    tile_um: float | None = Field(
        None,
        title="Tile size (µm)",
        gt=0,
        description="side of a tile in micrometers, such as 3000 for 3 mm; takes precedence over its scale",
    )
    overlap: float | None = Field(
        None,
        title="Tile overlap",
        ge=0,
        le=0.9,
        description="share of a tile's side that overlaps the next; by default 0.125 for dense maps",
    )
    border: Border = Field("pad", title="Tiles at border", description="handling of tiles that extend beyond the slide")
    region: tuple[int, int, int, int] | None = Field(
        None,
        title="Region (px)",
        description="top, left, height, width in pixels of the finest level; none: the whole scanned area",
    )
    tissue: TissueConfig = TissueConfig()
    tissue_mask: Path | None = Field(
        None,
        title="Tissue mask file",
        description="PNG of the whole slide, white in tissue; by default, tissue is detected",
    )
    tumor_outlines: Path | None = Field(
        None,
        title="Tumor outlines",
        description="GeoJSON with the tumor, outlined by a reader: the Breslow thickness is measured to it, with a "
        "model that has a class of epidermis but none of tumor",
    )
    min_tissue: float = Field(
        MIN_TISSUE, title="Minimum tissue", ge=0, le=1, description="share of a tile that must be tissue"
    )
    stain: StainConfig | None = Field(
        None, title="Stain method", description="normalization of the colors to a reference; none: unchanged"
    )
    stain_reference: Path | None = Field(
        None, title="Reference image", description="image whose stain is the reference; none: a standard one"
    )
    apply_profile: bool = Field(False, title="Color profile", description="convert colors by the slide's ICC profile")
    target: str = Field(
        "",
        title="Class of interest",
        description="class whose heatmap is shown and whose areas are listed and counted, such as Adnexa; by default "
        "the tumor class of the model",
    )
    prevalence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="prevalence of the positive class among the slides of the user, for a model of whole slides",
    )
    patient: dict[str, str] = Field(
        default_factory=dict,
        title="Patient data",
        description="patient data by column, such as age, for a model of slide and patient data",
    )
    metadata: Path | None = Field(
        None,
        title="Patient table",
        description="CSV or XLSX table with the patient data of each slide (image_id, age, depth_mm ...), for a model "
        "of slide and patient data",
    )
    lesions: LesionConfig = LesionConfig()
    score: SlideScoreConfig = SlideScoreConfig()
    batch_size: int = Field(32, ge=1, le=4096, description="tiles in one forward pass")
    workers: int = Field(0, title="Reader threads", ge=0, le=256, description="reader threads; 0: number of cores")
    device: Device = Field(
        "auto", description="where the network runs; auto: on a GPU that torch finds, or else on the CPU"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", title="Number format", description="number format; auto: bf16 if supported and faster"
    )

    @model_validator(mode="after")
    def _check_region(self) -> Self:
        if self.region is not None and (min(self.region[2:]) < 1):
            raise ValueError(f"region is {self.region}: height and width are at least 1 pixel")
        return self

    @model_validator(mode="after")
    def _check_height(self) -> Self:
        if self.mpp_y is not None and self.mpp is None:
            raise ValueError("mpp_y is the height of pixels whose width is mpp: set mpp, too")
        return self

    _omit_unset = omit_unset("mpp_y")

    @property
    def normalizes_stain(self) -> bool:
        """Whether colors are normalized; the method ``none`` is the same as no stain options."""
        return self.stain is not None and self.stain.method != "none"

    @property
    def tile_settings(self) -> dict[str, Any]:
        """Options that determine the predictions of tiles; files and options that are not set are left out."""
        settings = self.model_dump(mode="json", exclude={*EXECUTION_OPTIONS, *FILE_OPTIONS})
        if not self.normalizes_stain:
            settings["stain"] = None
        return {key: value for key, value in settings.items() if value is not None}


class CohortOptions(Config):
    """Workers of a cohort, and number of attempts for each slide."""

    processes: int = Field(
        1, ge=1, le=1024, description="number of slides to analyze in parallel, each in its own process"
    )
    scheduler: str = Field("", description="address or file of a dask scheduler whose workers analyze the slides")
    tries: int = Field(
        3,
        ge=1,
        le=100,
        description="maximum number of attempts for a slide that fails for an external reason, such as a dead process",
    )


def hashed_tile_settings(options: SlideOptions) -> dict[str, Any]:
    """Return ``tile_settings`` with the hashes of the files that also determine the predictions of tiles."""
    names = [name for name in FILE_OPTIONS if name != "stain_reference" or options.normalizes_stain]
    files = {name: path for name in names if (path := getattr(options, name)) is not None}
    return options.tile_settings | {
        name: _hash_file_option(name, path, file_stamp(path)) for name, path in files.items()
    }


@lru_cache(maxsize=16)
def _hash_file_option(name: str, path: Path, stamp: FileStamp | None) -> str:
    """Return the hash of the content of one of ``FILE_OPTIONS``, which is the same for all slides of a command."""
    from napari_melanoma.core.provenance import array_fingerprint

    del stamp
    content: NDArray
    if name == "tissue_mask":
        from napari_melanoma.io.results import read_mask

        content = read_mask(path)
    elif name == "tumor_outlines":
        from napari_melanoma.slides.marked_tumor import read_tumor

        content = np.concatenate([ring for polygon in read_tumor(path) for ring in polygon.arrays])
    else:
        from napari_melanoma.io.photographs import read_photograph

        content = read_photograph(path).rgb
    return array_fingerprint(content)[:DIGEST_DIGITS]


def match_scale(grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> ScaleMatch:
    """Compare the scale of tiles with the scale that a model was trained at.

    If tiles are enlarged, the scale of the slide counts, as enlarging adds no detail. A difference is accepted if the
    user has set the scale or the size of the tiles.
    """
    slide_size, tile_mpp = grid.pixel_size, grid.mpp
    found_um = None
    if slide_size is not None and tile_mpp is not None:
        found_um = max(*tile_mpp, slide_size.y_um, slide_size.x_um)
    is_set = options.tile_mpp is not None or options.tile_um is not None
    return ScaleMatch(found_um, model.mpp, accepted=options.accept_scale or is_set)


def check_scale(slide: SlideInfo, grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> None:
    """Raise InputError if the scale of the tiles differs too much from that of the training data."""
    scale = match_scale(grid, model, options)
    if is_scale_refused(scale):
        raise InputError(
            f"the scale of {slide.path.name} is wrong for '{model.name}': tiles would have {scale.found_um:.3g} µm per "
            f"pixel, but the model was trained at {scale.expected_um:g} µm. Predictions are meaningless at a factor of "
            f"{scale.factor:.3g}. If the file states a wrong scale, set the correct one under Scale in the Slide dock "
            "(Python: pixel_size_um, command line: --mpp); otherwise, select a model for this scale. 'accept scale' "
            "under Options in the Slide dock (Python: options={'accept_scale': True}, command line: --accept-scale) "
            "analyzes the slide anyway and marks all outputs as not valid."
        )


def check_slide_validity(
    slide: SlideInfo,
    grid: TileGrid,
    model: TileModelInfo,
    options: SlideOptions,
    result: SlideResult,
    out_of_distribution_share: float | None,
) -> Validity:
    """Return whether the predictions for a slide are valid, with the reasons if they are not.

    ``out_of_distribution_share``: share of the sampled tiles that are out of distribution; None if unknown.
    """
    size, finest = grid.pixel_size, slide.levels[0]
    shorter_side_mm = None if size is None else min(finest.height * size.y_um, finest.width * size.x_um) / UM_PER_MM
    return ValidityInputs(
        model.name,
        demonstration=model.demonstration,
        synthetic_share=model.synthetic_share,
        synthetic_input=is_phantom(slide.path),
        scale=match_scale(grid, model, options),
        field_mm=shorter_side_mm,
        model_field_mm=model.side_px * model.mpp / UM_PER_MM,
        distance=out_of_distribution_share,
        limit=OUT_OF_DISTRIBUTION_SHARE,
        painted=model.is_tissue_classifier,
        failed_share=float((result.state == FAILED).sum()) / max(1, len(result.order)),
        calibrated=model.calibrated,
    ).check()
