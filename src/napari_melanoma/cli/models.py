"""Commands ``models ...``: list models and architectures, show model cards, import bundles and export models."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import add_command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.models.export_formats import ModelFormat, export_model

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

LIST_HELP = format_help(
    "napari-melanoma models list",
    "napari-melanoma models list --json",
    "List the models, shipped ones and those in your model folder, and the architectures available to recipes, with "
    "the number of parameters and the reference.",
)
SHOW_HELP = format_help(
    "napari-melanoma models show lesion-small",
    "napari-melanoma models show runs/first/bundle",
    "Show a model's card: data, metrics with intervals, limits and license.",
)
IMPORT_HELP = format_help(
    "napari-melanoma models import runs/second/bundle",
    "napari-melanoma models import downloads/lesion.zip --name our-clinic",
    "Copy a model into your model folder: a bundle, that of a run, or a package of the BioImage Model Zoo that this "
    "program wrote. It is then listed here and in the docks; existing models are kept.",
)
EXPORT_HELP = format_help(
    "napari-melanoma models export lesion-small --out lesion.onnx",
    "napari-melanoma models export lesion-small --format bioimageio --out lesion.zip",
    "Export a model as ONNX for other programs, as a package of the BioImage Model Zoo, or as the folder that 'models "
    "push' uploads.\n\n"
    "The input of the ONNX file is images as uint8 RGB (batch, side, side, 3); the output is logits, or the calibrated "
    "probabilities of a classifier. Side and threshold are in config.json, which is embedded in the file as custom "
    "metadata. Beside the file, example.py reproduces the results of this program with numpy, Pillow and onnxruntime.",
)
PULL_HELP = format_help(
    "napari-melanoma models pull hf:our-clinic/lesion-small",
    "napari-melanoma models pull hf:our-clinic/lesion-small@v2 --name lesion-v2",
    "Download a model of the Hugging Face hub into your model folder, and show its name with the commit, "
    "hf:owner/name@commit, which every command takes as a model. Files that are not of a model are not downloaded.",
)
PUSH_HELP = format_help(
    "napari-melanoma models push runs/second/bundle hf:our-clinic/lesion-small",
    "napari-melanoma models push lesion-2 hf:our-clinic/lesion-small --public",
    "Upload a model with its card to the Hugging Face hub. A new repository is private unless --public is given; an "
    "earlier model in the repository is replaced. Log in before with 'hf auth login', or set HF_TOKEN.",
)
app = typer.Typer(
    help="List models, show their cards, and export them for other programs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


NO_TUMOR_MODEL = (
    "No installed model detects tumors on slides. Paint a tumor class in the Slide dock, train a model, or import one."
)


def list_(current: CommandSession) -> None:
    """List the models."""
    from napari_melanoma.models.bundle import user_models_folder
    from napari_melanoma.models.installed_bundles import list_bundles, list_unusable_bundles
    from napari_melanoma.slides.model_loading import detects_tumors

    bundles, unusable = list_bundles(), list_unusable_bundles()
    for info in bundles:
        parent = _parent_name(info)
        text = f"{info.name:<20} {info.config.title}" + (f" (from {parent})" if parent else "")
        current.report.emit_item("model", text, **_model_values(info))
    for folder, reason in unusable.items():
        text = f"{folder.name:<20} NOT USABLE: {reason}"
        current.report.emit_item("unusable model", text, name=folder.name, path=str(folder), reason=reason)
    if not any(detects_tumors(info.config) for info in bundles):
        current.report.emit("note", NO_TUMOR_MODEL, message=NO_TUMOR_MODEL)
    architectures = _list_architectures(current)
    total = f"{format_count(len(bundles), 'model')} and {architectures} architectures"
    text = f"{total}; your model folder: {user_models_folder()}. Show a card: napari-melanoma models show NAME"
    current.finish(text, count=len(bundles), architectures=architectures, user_folder=str(user_models_folder()))


def _list_architectures(current: CommandSession) -> int:
    """Report the architectures and return their number.

    One that cannot be built, because an optional package is missing, has no parameter count.
    """
    from napari_melanoma.core.plugins import PACKAGE
    from napari_melanoma.models.zoo import NETWORKS, count_parameters

    architectures = NETWORKS.members
    for name, architecture in architectures.items():
        try:
            count = count_parameters(name, {})
        except MelanomaError:
            count = None
        spec = architecture.spec
        options = spec.config().model_dump(mode="json")
        facts = {
            "name": name,
            "title": spec.title,
            "parameters": count,
            "reference": spec.reference,
            "options": options,
            "package": plugin.package if (plugin := NETWORKS.find_plugin(name)) else PACKAGE,
        }
        text = f"{spec.name:<26} {_format_millions(count):>8}  {NETWORKS.label(name)}. {spec.reference}"
        current.report.emit_item("architecture", text, **facts)
    return len(architectures)


def _format_millions(count: int | None) -> str:
    if count is None:
        return "?"
    return f"{count / 1e6:.1f} M" if count >= 95_000 else f"{count:,}"


def show(
    current: CommandSession,
    model: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or the folder of a bundle or a run.")],
) -> None:
    """Show a model's card."""
    from napari_melanoma.models.installed_bundles import find_bundle

    info = find_bundle(model)
    card = info.card.strip() or "This model has no card."
    current.report.emit_item("model", card, **_model_values(info), card=info.card)
    text = f"{info.name} is in {info.path}; use it: {_usage_command(info, model)}"
    if views := info.config.describe_views():
        text = "\n".join([*(f"{sentence}." for sentence in views), text])
    current.finish(text, path=str(info.path))


def _usage_command(info: BundleInfo, name: str) -> str:
    if info.config.is_slide_model:
        return f"napari-melanoma slide SLIDE --out DIR --model {name}"
    option = "--classifier" if info.config.task == "classification" else "--model"
    return f"napari-melanoma lesion IMAGE --out DIR {option} {name}"


def import_(
    current: CommandSession,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a bundle or of a run; or a package, .zip.")],
    name: Annotated[str | None, typer.Option(help="New name of the model; its current name by default.")] = None,
) -> None:
    """Copy a model into the user's model folder."""
    from napari_melanoma.evaluation.training_overlap import describe_unstated
    from napari_melanoma.models.bioimageio import SUFFIX, read_package
    from napari_melanoma.models.bundle import read_bundle
    from napari_melanoma.models.graphs import add_graphs
    from napari_melanoma.models.installed_bundles import install_bundle
    from napari_melanoma.runs.acceptance import activate_model

    is_run = (path / "bundle").is_dir()
    if is_run:
        _report_objection(path, current)
    with TemporaryDirectory() as extracted:
        if path.suffix.lower() == SUFFIX and path.is_file():
            info = install_bundle(read_package(path, Path(extracted)), name)
        else:
            info = activate_model(path, name) if is_run else install_bundle(read_bundle(path), name)
    if warning := describe_unstated(info):
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    current.after_stop = f"'{info.name}' is installed without graphs for ONNX Runtime; torch runs it."
    if reason := add_graphs(info, current.run):
        current.report.emit("note", f"note: predictions need torch: {reason}", message=reason)
    text = f"'{info.name}' is in {info.path}; use it: {_usage_command(info, info.name)}"
    current.finish(text, name=info.name, path=str(info.path))


def pull(
    current: CommandSession,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, hf:owner/name; @REVISION: another commit.")],
    name: Annotated[str | None, typer.Option(help="Name of the model in your folder; its own by default.")] = None,
) -> None:
    """Download a model of the hub into the user's model folder."""
    from napari_melanoma.evaluation.training_overlap import describe_unstated
    from napari_melanoma.models.hub import HubName, download_named, find_hub_bundle, pin
    from napari_melanoma.models.installed_bundles import install_bundle

    current.after_stop = "Nothing was installed."
    pinned = pin(HubName.parse(model))
    download_named(str(pinned))
    info = install_bundle(find_hub_bundle(str(pinned)), name)
    if warning := describe_unstated(info):
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    text = f"{pinned} is in {info.path}; use it: {_usage_command(info, info.name)}"
    current.finish(text, name=info.name, path=str(info.path), pinned=str(pinned))


def push(
    current: CommandSession,
    model: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or the folder of a bundle or a run.")],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="The repository, hf:owner/name.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the files of another program in the repository."),
    ] = False,
) -> None:
    """Upload a model to the hub."""
    from napari_melanoma.models.hub import HubName, push_bundle
    from napari_melanoma.models.installed_bundles import find_bundle

    current.after_stop = "The upload is incomplete: no file in the repository has changed; a new repository is empty."
    info = find_bundle(model)
    pinned = push_bundle(info, HubName.parse(repository), private=not public, replace=replace)
    text = f"{info.name} is on the hub; use it: {_usage_command(info, str(pinned))}"
    current.finish(text, name=info.name, pinned=str(pinned))


def _report_objection(run: Path, current: CommandSession) -> None:
    """Warn if the comparison of a run does not recommend the new model, or if the user discarded that model."""
    from napari_melanoma.evaluation.comparison_results import read_comparison
    from napari_melanoma.runs.acceptance import explain_objection, is_discarded

    try:
        comparison = read_comparison(run)
    except InputError:
        comparison = None
    if objection := explain_objection(comparison, discarded=is_discarded(run)):
        current.report.emit("warning", f"Warning: {objection}", message=objection)


def export(
    current: CommandSession,
    model: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or the folder of a bundle or a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, .onnx or .zip; for hub a new folder.")],
    format_: Annotated[
        ModelFormat,
        typer.Option(
            "--format",
            help="onnx: a network; bioimageio: a package of the BioImage Model Zoo; hub: the files of a repository on "
            "the Hugging Face hub.",
        ),
    ] = ModelFormat.onnx,
) -> None:
    """Export a model for other programs."""
    from napari_melanoma.models.export import EXAMPLE
    from napari_melanoma.models.installed_bundles import find_bundle

    current.after_stop = "Nothing was written."
    info = find_bundle(model)
    export_model(info, format_, out)
    if format_ is ModelFormat.hub:
        files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        text = f"{', '.join(files)} of {info.name} are in {out}; upload them: napari-melanoma models push {model} "
        current.finish(f"{text}hf:owner/name", out=str(out), files=files)
        return
    is_network = format_ is ModelFormat.onnx
    usage = f"how to use it: python {out.parent / EXAMPLE} --help" if is_network else f"check it: bioimageio test {out}"
    size = out.stat().st_size
    current.finish(f"{info.name} is in {out} ({size / 1e6:.1f} MB); {usage}", out=str(out), bytes=size)


def _parent_name(info: BundleInfo) -> str | None:
    """Return the name of the model that training started from, if known."""
    parent = info.config.provenance.get("parent")
    return str(parent["name"]) if isinstance(parent, dict) and "name" in parent else None


def _model_values(info: BundleInfo) -> dict[str, object]:
    config = info.config
    return {
        "name": info.name,
        "title": config.title,
        "task": config.task,
        "architecture": config.architecture,
        "input_size": config.input_size,
        "threshold": config.decision_threshold,
        "closer_views": list(config.closer_views),
        "turned_views": config.turned_views,
        "modalities": list(config.modalities),
        "licence": config.licence,
        "parent": _parent_name(info),
        "path": str(info.path),
    }


add_command(app, "list", list_, LIST_HELP)
add_command(app, "show", show, SHOW_HELP)
add_command(app, "import", import_, IMPORT_HELP)
add_command(app, "export", export, EXPORT_HELP)
add_command(app, "pull", pull, PULL_HELP)
add_command(app, "push", push, PUSH_HELP)
