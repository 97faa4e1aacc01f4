"""Commands ``phantom ...``: generate synthetic lesions, slides and cohorts with known ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    ConfigOptions,
    OptionValues,
    Out,
    add_command,
    drop_unset,
    format_help,
)
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig

LESION_HELP = format_help(
    "napari-melanoma phantom lesion --out phantoms",
    "napari-melanoma phantom lesion --out phantoms --count 20 --seed 100 --modality macroscopic --skin-type 5",
    "Generate synthetic photographs of lesions. Each gives OUT/<name>.png, OUT/<name>_mask.png and "
    "OUT/<name>.truth.json with all parameters. The same seed gives the same lesion. With --growth, "
    "OUT/<name>_grown.png shows it on the same skin at a later time.",
)
app = typer.Typer(
    help="Generate synthetic images with known ground truth.", no_args_is_help=True, rich_markup_mode=None
)
SLIDE_HELP = format_help(
    "napari-melanoma phantom slide --out phantoms --size 4096 --seed 7",
    "napari-melanoma phantom slide --out phantoms --size 16384 --breslow-mm 1.6 --ulcerated --folds 1 --pens 2",
    "Generate synthetic slides of skin: sections with the appearance of hematoxylin and eosin, with melanomas of known "
    "Breslow thickness and nevi. Each gives OUT/<name>.tif (a pyramid of JPEG tiles), OUT/<name>.truth.json with "
    "all parameters, and OUT/<name>.geojson with the exact outlines for QuPath. The same values give the "
    "same slide. A configuration file (--config) can set further parameters.",
)
SLIDE_BASIC = ("seed", "count", "size", "mpp", "malignant", "benign", "breslow-mm", "ulcerated", "config")
COHORT_HELP = format_help(
    "napari-melanoma phantom cohort --out cohort --count 400 --seed 0 --slides 4",
    "napari-melanoma phantom cohort --out control --count 300 --seed 0 --random-labels",
    "Generate a data set of synthetic patients, each with a melanoma of known thickness: a patch of 3 mm x 3 mm, "
    "age, sex, site, thickness, ulceration, Clark level and mitoses. Metastasis is sampled from a risk model that "
    "DATASET/cohort.json states; every variable contributes to it, and one of them, necrosis, is visible only in the "
    "image. A fifth of the patients is the test set (split test), with stain appearances that the others do not have. "
    "The same values give the same data set, for any number of processes.",
)


def lesion(
    current: CommandSession,
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "phantoms.lesion.traits:LesionPhantomConfig",
            without=("seed", "field_mm", "lesions", "lesion", "skin", "artefacts", "camera"),
            names={"size": "--size HEIGHT WIDTH"},
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first image; the others follow.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 1,
    growth: Annotated[
        float,
        typer.Option(
            min=0, max=9, help="Also photograph each lesion after its area has grown by this share; 0.5: by half."
        ),
    ] = 0,
) -> None:
    """Generate phantom lesions."""
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom, save_lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    configs: dict[str, LesionPhantomConfig] = {}
    for number in range(seed, seed + count):
        config = LesionPhantomConfig.parse({**options, "seed": number}, "the command line")
        configs[f"lesion_{number:04d}"] = config
        if growth:
            configs[f"lesion_{number:04d}_grown"] = _grow_lesion(config, growth)
    current.lock_folder(out)
    current.after_stop = f"Finished images stay in {out}."
    for name, config in current.run.track(list(configs.items()), "drawing phantoms"):
        image = save_lesion_phantom(lesion_phantom(config), out, name)
        current.report.emit("phantom", str(image), image=str(image))
    text = f"{format_count(len(configs), 'phantom')} in {out}; next: napari-melanoma lesion {out} --out RESULTS"
    current.finish(text, out=str(out), count=len(configs))


def _grow_lesion(config: LesionPhantomConfig, growth: float) -> LesionPhantomConfig:
    """Return the configuration of the lesion after growth; raise an error that names the option if it has no room."""
    from napari_melanoma.phantoms.lesion.phantom import grow_lesion, plan_lesion_phantom

    try:
        grown = grow_lesion(config, growth)
        plan_lesion_phantom(grown)
    except ConfigError as error:
        raise ConfigError(
            f"--growth {growth:g} is too large for the lesion of seed {config.seed}: {error} Nothing was written."
        ) from error
    return grown


def slide(
    current: CommandSession,
    out: Out,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the first slide; the others follow. 0 by default.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 1,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Height and width; 8192 by default.")] = None,
    *,
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "phantoms.slide.config:SlidePhantomConfig",
            without=(
                *("seed", "size", "stain_strength", "stain_variation", "sections", "levels", "artefacts.defocus"),
                *(f"lesions.{name}" for name in ("width_mm", "pigment", "mitoses_per_mm2", "position")),
                "section",
            ),
            names={"lesions.ulceration": "--ulcerated/--intact"},
        ),
    ],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file; options take precedence.")] = None,
) -> None:
    """Generate phantom slides."""
    values = {**options, **drop_unset(seed=seed, size=None if size is None else (size, size))}
    first = _build_config(values, config)
    configs = [first.model_copy(update={"seed": first.seed + number}) for number in range(count)]
    _check_room(configs)
    current.lock_folder(out)
    current.after_stop = f"Finished images stay in {out}."
    for slide_config in configs:
        _write_slide(current, slide_config, out)
    text = f"{format_count(count, 'phantom slide')} in {out}; next: napari-melanoma open {out}/*.tif"
    current.finish(text, out=str(out), count=count)


def _build_config(values: OptionValues, path: Path | None) -> SlidePhantomConfig:
    """Merge the values of the file with those of the command line, which take precedence."""
    from napari_melanoma.core.config import overlay_values, read_toml
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig

    base = SlidePhantomConfig() if path is None else read_toml(path, SlidePhantomConfig)
    return SlidePhantomConfig.parse(overlay_values(base.model_dump(), values), "the command line")


def _check_room(configs: Sequence[SlidePhantomConfig]) -> None:
    """Raise an error before anything is written if one of the slides is too small for its content."""
    from napari_melanoma.phantoms.slide.plan import plan_slide

    for config in configs:
        try:
            plan_slide(config)
        except ConfigError as error:
            raise ConfigError(f"The slide of seed {config.seed} is too small: {error} Nothing was written.") from error


def _write_slide(current: CommandSession, config: SlidePhantomConfig, out: Path) -> None:
    from napari_melanoma.phantoms.slide.render import write_slide

    files = write_slide(config, out, f"slide_{config.seed:04d}", current.run)
    current.report.emit("phantom", str(files.image), image=str(files.image), truth=str(files.truth))


def cohort(
    current: CommandSession,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set.")],
    options: Annotated[
        OptionValues,
        ConfigOptions("phantoms.cohort:CohortConfig", without=("patch_mm", "test_share", "folds")),
    ],
    processes: Annotated[int | None, typer.Option(min=1, help="Number of processes; one per core by default.")] = None,
) -> None:
    """Generate a phantom cohort."""
    from napari_melanoma.core.context import usable_cores
    from napari_melanoma.phantoms.cohort import CohortConfig, write_cohort

    config = CohortConfig.parse(options, "the command line")
    written = write_cohort(config, out, processes or usable_cores(), current.run)
    text = f"{written.patients} patients in {out}; next: napari-melanoma data check {out}"
    current.finish(text, out=str(out), patients=written.patients, slides=written.slides)


add_command(app, "lesion", lesion, LESION_HELP)
add_command(app, "slide", slide, SLIDE_HELP, basic=SLIDE_BASIC)
add_command(app, "cohort", cohort, COHORT_HELP)
