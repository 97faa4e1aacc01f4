"""Reproduce a paper: every row of its tables trained and judged on the user's data, beside the paper's own figures."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.workflows.reproduce_papers import Budget

MINUTES = 40.0


class ReproduceOptions(Config):
    """What of a paper is reproduced, on what, and how long it may take."""

    paper: str = Field(description="such as 'P4'")
    data: tuple[str, ...] = Field((), description="ROLE=FOLDER, or folders whose role is known by name or modality")
    weights: dict[str, str] = Field(default_factory=dict, description="initial weights of the paper, by name, as files")
    rows: tuple[str, ...] = Field((), description="rows or grids by name; none: the rows of the tables")
    budget: Budget = Field("full", description="small: 128 pixels, reduced widths, few epochs, a limited time")
    minutes: float = Field(MINUTES, gt=0, description="that the small budget may take on this machine")
