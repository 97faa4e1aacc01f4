"""``models``: which bundles there are, and what each says of itself."""

from __future__ import annotations

from pathlib import Path
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

IMPORT_HELP = examples(
    "napari-melanoma models import runs/second/bundle",
    "napari-melanoma models import downloads/bundle --name our-clinic",
    "Copy a model into your model folder. It is listed from then on, in the docks too; the models that are there stay.",
)

app = typer.Typer(help="List models and show their cards.", no_args_is_help=True, rich_markup_mode=None)


def list_(json: Json = False, debug: Debug = False) -> None:
    """List the models."""
    with session(json, debug) as current:
        from napari_melanoma.models.registry import list_bundles, user_folder

        bundles = list_bundles()
        for info in bundles:
            current.report.listing("model", _line(info), **_facts(info))
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


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a bundle, or of a run that has one.")],
    name: Annotated[str | None, typer.Option(help="What it shall be called; its own name by default.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Copy a model into the user's model folder."""
    with session(json, debug) as current:
        from napari_melanoma.models.bundle import read_bundle
        from napari_melanoma.models.registry import adopt
        from napari_melanoma.workflows.adoption import take_over

        is_run = (path / "bundle").is_dir()
        info = take_over(path, name) if is_run else adopt(read_bundle(path), name)
        text = f"'{info.name}' is in {info.path}; use it: napari-melanoma lesion IMAGE --out DIR --model {info.name}"
        current.done(text, name=info.name, path=str(info.path))


def _line(info: BundleInfo) -> str:
    """Name, title and descent of a model."""
    parent = _parent(info)
    return f"{info.name:<20} {info.config.title}" + (f" (from {parent})" if parent else "")


def _parent(info: BundleInfo) -> str | None:
    """Name of the model that a model was trained from, where it says so."""
    parent = info.config.provenance.get("parent")
    return str(parent["name"]) if isinstance(parent, dict) and "name" in parent else None


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
        "parent": _parent(info),
        "path": str(info.path),
    }


add_verb(app, "list", list_, LIST_HELP)
add_verb(app, "show", show, SHOW_HELP)
add_verb(app, "import", import_, IMPORT_HELP)
