"""The options of ``slide``, each spelt and explained once, so that the verb itself stays short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    str | None,
    typer.Option(help="A model of slides, the folder of a bundle, or an encoder: encoder:BUNDLE, timm:NAME, uni ..."),
]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="Local file with an encoder's weights.")]
Download = Annotated[
    bool, typer.Option("--download", help="Let an encoder's weights be fetched; its licence is shown.")
]
Mpp = Annotated[float | None, typer.Option(metavar="UM", help="Micrometres per pixel of the slides.")]
AcceptScale = Annotated[
    bool,
    typer.Option(
        "--accept-scale",
        help="Analyze although the scale is off by more than a factor of 4; outputs are marked as not valid.",
    ),
]
TileMpp = Annotated[float | None, typer.Option(metavar="UM", help="Micrometres per pixel of a tile.")]
TileUm = Annotated[float | None, typer.Option(metavar="UM", help="Side of a tile, such as 3000 for 3 mm.")]
Overlap = Annotated[float | None, typer.Option(help="Share of a tile's side that the next one sees again.")]
Border = Annotated[Literal["pad", "inside", "shift"] | None, typer.Option(help="Tiles at the far edges.")]
TissueMask = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Tissue of the whole slide, white; found by default.")
]
MinTissue = Annotated[float | None, typer.Option(help="Share of a tile that must be tissue.")]
Stain = Annotated[
    Literal["macenko", "reinhard", "histogram", "standardise"] | None, typer.Option(help="Normalise the stain.")
]
Score = Annotated[
    Literal["mean", "maximum", "top_k"] | None, typer.Option(help="How tiles become one answer for the slide.")
]
Target = Annotated[str | None, typer.Option(help="Class that heatmap and lesions are about.")]
Prevalence = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Of the positive class among the slides, for a model of whole slides."),
]
BatchSize = Annotated[int | None, typer.Option(help="Tiles in one pass of the network.")]
Workers = Annotated[int | None, typer.Option(help="Threads that read; as many as cores by default.")]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"] | None, typer.Option(help="auto: bf16 where the processor has it.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="All options as TOML; those given here win.")
]
Force = Annotated[bool, typer.Option("--force", help="Begin again whatever is there.")]
Nice = Annotated[bool, typer.Option("--nice", help="Stand back behind what a person is waiting for.")]
Processes = Annotated[
    int | None, typer.Option(metavar="N", help="Analyse N slides at once, each in a process of its own.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Share the slides among the workers of a dask scheduler: address or file."),
]
Tries = Annotated[
    int | None, typer.Option(metavar="N", help="How often a slide is begun whose process dies; 3 by default.")
]
