"""What a user says of the analysis of a slide: one value for the command line, the Slide dock and the provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.analysis.slide_lesions import LesionConfig
from napari_melanoma.analysis.slide_scores import SlideScoreConfig
from napari_melanoma.analysis.stain import StainConfig
from napari_melanoma.analysis.tiling import Border
from napari_melanoma.analysis.tissue import TissueConfig
from napari_melanoma.core.config import Config

DENSE_OVERLAP = 0.125  # of a side: where neighbours meet, dense maps are blended over so much
DIGITS = 16  # of a hash that tells one picture from another
HOW = (
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
    "accept_scale",
)


class SlideOptions(Config):
    """How a slide is analysed."""

    model: str = Field("", description="a bundle, timm:NAME, or a published encoder; empty: the one that is shipped")
    weights: Path | None = Field(None, description="local file with an encoder's weights")
    download: bool = Field(False, description="let an encoder's weights be fetched from where they are published")
    mpp: float | None = Field(
        None, ge=0.01, le=100, description="micrometres per pixel of the slide; none: what its file states"
    )
    accept_scale: bool = Field(
        False, description="analyze although the scale is far from the model's; outputs are marked as not valid"
    )
    tile_mpp: float | None = Field(None, gt=0, le=100, description="micrometres per pixel of a tile; none: the model's")
    tile_um: float | None = Field(None, gt=0, description="side of a tile in micrometres; decides if given")
    overlap: float | None = Field(
        None, ge=0, le=0.9, description="share of a tile's side that the next sees again; none: an eighth of dense maps"
    )
    border: Border = Field("pad", description="of tiles that reach outside the slide")
    region: tuple[int, int, int, int] | None = Field(
        None, description="top, left, height, width in pixels of the finest level; none: all that was scanned"
    )
    tissue: TissueConfig = TissueConfig()
    tissue_mask: Path | None = Field(None, description="PNG of the whole slide, white in tissue; none: it is found")
    min_tissue: float = Field(0.1, ge=0, le=1, description="share of a tile that must be tissue")
    stain: StainConfig | None = Field(None, description="colours brought to those of a reference; none: as they are")
    stain_reference: Path | None = Field(None, description="picture whose stain is the reference; none: a usual one")
    apply_profile: bool = Field(False, description="convert colours by the slide's ICC profile")
    target: str = Field("", description="class that heatmap and lesions are about; empty: the model's own")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of slides of the positive class where it is used"
    )
    lesions: LesionConfig = LesionConfig()
    score: SlideScoreConfig = SlideScoreConfig()
    batch_size: int = Field(32, ge=1, le=4096, description="tiles in one pass of the network")
    workers: int = Field(0, ge=0, le=256, description="threads that read; 0: as many as cores")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the processor has it")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.region is not None and (min(self.region[2:]) < 1):
            raise ValueError(f"region is {self.region}: height and width are at least 1 pixel")
        return self

    @property
    def is_stain_changed(self) -> bool:
        """Whether colours are brought to a reference at all: the method ``none`` is as good as no word about it."""
        return self.stain is not None and self.stain.method != "none"

    @property
    def decisive(self) -> dict[str, Any]:
        """What the values of tiles depend on; beside it only how they are computed, and what is made of them."""
        kept = self.model_dump(mode="json", exclude={*HOW, "tissue_mask", "stain_reference"})
        if not self.is_stain_changed:
            kept["stain"] = None
        return {key: value for key, value in kept.items() if value is not None}


def decisive_settings(options: SlideOptions) -> dict[str, Any]:
    """Say all that the values of tiles depend on: files count by what is in them, whatever they are called.

    Returns as JSON has it; options that were left out are left out here.
    """
    from napari_melanoma.core.provenance import fingerprint

    given = options.decisive
    if options.tissue_mask is not None:
        from napari_melanoma.io.results import read_mask

        given["tissue_mask"] = fingerprint(read_mask(options.tissue_mask))[:DIGITS]
    if options.stain_reference is not None and options.is_stain_changed:
        from napari_melanoma.io.photographs import read_photograph

        given["stain_reference"] = fingerprint(read_photograph(options.stain_reference).rgb)[:DIGITS]
    return given
