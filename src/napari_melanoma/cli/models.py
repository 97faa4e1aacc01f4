"""``models``: which bundles there are, and what each says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, add_verb, examples
from napari_melanoma.cli.session import session

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

LIST_HELP = examples(
    "napari-melanoma models list",
    "napari-melanoma models list --json",
    "List the models: the shipped ones and those in your model folder.",
)
SHOW_HELP = examples(
    "napari-melanoma models show lesion-small",
    "napari-melanoma models show runs/first/bundle",
    "Show a model's card: data, metrics with intervals, limits and licence.",
)

app = typer.Typer(help="List models and show their cards.", no_args_is_help=True, rich_markup_mode=None)


def list_(json: Json = False, debug: Debug = False) -> None:
    """List the models."""
    with session(json, debug) as current:
        from napari_melanoma.models.registry import list_bundles, user_folder

        bundles = list_bundles()
        for info in bundles:
            current.report.listing("model", f"{info.name:<20} {info.config.title}", **_facts(info))
        found = f"{len(bundles)} model{'' if len(bundles) == 1 else 's'}"
        text = f"{found}; your own belong in {user_folder()}. A card: napari-melanoma models show NAME"
        current.done(text, count=len(bundles), user_folder=str(user_folder()))


def show(
    model: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or the folder of a bundle.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a model's card."""
    with session(json, debug) as current:
        from napari_melanoma.models.registry import find_bundle

        info = find_bundle(model)
        card = info.card.strip() or "This model has no card."
        current.report.listing("model", card, **_facts(info), card=info.card)
        text = f"{info.name} is in {info.path}; use it: napari-melanoma lesion IMAGE --out DIR --model {model}"
        current.done(text, path=str(info.path))


def _facts(info: BundleInfo) -> dict[str, object]:
    """What a machine may want to know of a model."""
    config = info.config
    return {
        "name": info.name,
        "title": config.title,
        "task": config.task,
        "architecture": config.architecture,
        "input_size": config.input_size,
        "threshold": config.threshold,
        "modalities": list(config.modalities),
        "licence": config.licence,
        "path": str(info.path),
    }


add_verb(app, "list", list_, LIST_HELP)
add_verb(app, "show", show, SHOW_HELP)
