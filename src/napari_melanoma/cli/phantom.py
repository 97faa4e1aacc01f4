"""``phantom``: synthetic images with known truth."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from napari_melanoma.cli.options import Debug, Json, Out, add_verb, examples
from napari_melanoma.cli.phantom_cohort import COHORT_HELP, cohort
from napari_melanoma.cli.phantom_slide import SLIDE_HELP, slide
from napari_melanoma.cli.session import command_session

LESION_HELP = examples(
    "napari-melanoma phantom lesion --out phantoms",
    "napari-melanoma phantom lesion --out phantoms --count 20 --seed 100 --modality macroscopic --skin-type 5",
    "Draw photographs of lesions that never were. Each gives OUT/<name>.png, OUT/<name>_mask.png and "
    "OUT/<name>.truth.json with every parameter. The same seed gives the same lesion.",
)
app = typer.Typer(help="Draw synthetic images with known truth.", no_args_is_help=True, rich_markup_mode=None)


def lesion(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; the others follow.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    modality: Annotated[Literal["dermoscopic", "macroscopic"] | None, typer.Option(help="Kind of photograph.")] = None,
    skin_type: Annotated[int | None, typer.Option(help="Fitzpatrick I to VI as 1 to 6; drawn by default.")] = None,
    size: Annotated[tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="In pixels.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw phantom lesions."""
    with command_session(json, debug) as current:
        from napari_melanoma.phantoms.lesion.phantom import lesion_phantom, save_lesion_phantom
        from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

        asked = {"modality": modality, "skin_type": skin_type, "size": size}
        common = {name: value for name, value in asked.items() if value is not None}
        current.lock_folder(out)
        current.after_stop = f"Those that are finished stay in {out}."
        for number in current.run.track(range(seed, seed + count), "drawing phantoms"):
            config = LesionPhantomConfig.parse({**common, "seed": number}, "the command line")
            image = save_lesion_phantom(lesion_phantom(config), out, f"lesion_{number:04d}")
            current.report.emit("phantom", str(image), image=str(image))
        text = f"{count} phantom{'' if count == 1 else 's'} in {out}; next: napari-melanoma lesion {out} --out RESULTS"
        current.finish(text, out=str(out), count=count)


add_verb(app, "lesion", lesion, LESION_HELP)
add_verb(app, "slide", slide, SLIDE_HELP)
add_verb(app, "cohort", cohort, COHORT_HELP)
