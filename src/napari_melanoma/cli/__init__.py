"""The command line ``napari-melanoma``: the application with all of its commands, and its entry point.

Each module of this package defines one or a few commands, which call functions of other packages. A command imports
them only when it runs, so that the help is shown without loading PyTorch or napari.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from napari_melanoma.cli import (
    adapt,
    application,
    case,
    compare,
    data,
    evaluate,
    lesion,
    models,
    phantom,
    recipes,
    report,
    results,
    slide,
    tissue,
    train,
)
from napari_melanoma.cli.extension_commands import PROGRAM, ExtensibleGroup
from napari_melanoma.cli.options import add_command
from napari_melanoma.core.paths import provide_home
from napari_melanoma.core.torch_environment import prepare_torch

__all__ = ["app", "main"]

app = typer.Typer(
    name=PROGRAM,
    cls=ExtensibleGroup,
    help="Melanoma imaging: lesion masks, regions of interest and measurements, in napari and without a window.\n\n"
    "Research use only; not for diagnosis.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add_command(app, "open", application.open_, application.OPEN_HELP)
add_command(app, "lesion", lesion.lesion, lesion.HELP)
add_command(app, "slide", slide.slide, slide.HELP)
add_command(app, "export", results.export, results.EXPORT_HELP, more_help=results.list_export_formats)
add_command(app, "readings", results.readings, results.READINGS_HELP)
add_command(app, "train", train.train, train.TRAIN_HELP)
add_command(app, "adapt", adapt.adapt, adapt.HELP)
add_command(app, "evaluate", evaluate.evaluate, evaluate.EVALUATE_HELP)
add_command(app, "biomarkers", evaluate.biomarkers, evaluate.BIOMARKERS_HELP)
add_command(app, "compare", compare.compare, compare.HELP)
app.add_typer(data.app, name="data", cls=ExtensibleGroup)
app.add_typer(models.app, name="models", cls=ExtensibleGroup)
app.add_typer(recipes.app, name="recipes", cls=ExtensibleGroup)
app.add_typer(train.app, name="runs", cls=ExtensibleGroup)
app.add_typer(phantom.app, name="phantom", cls=ExtensibleGroup)
app.add_typer(tissue.app, name="tissue", cls=ExtensibleGroup)
add_command(app, "case", case.case, case.HELP)
add_command(app, "report", report.report, report.HELP)
add_command(app, "doctor", application.doctor, application.DOCTOR_HELP)
add_command(app, "demo", application.demo, application.DEMO_HELP)


def _show_version(requested: bool) -> None:
    if requested:
        from napari_melanoma import __version__

        typer.echo(f"napari-melanoma {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declare the options that precede a command."""


def main() -> None:
    """Run the command line and end the process with the exit code of the command, as defined in ``cli.session``."""
    prepare_torch()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # pythonw.exe has none
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name outside the console's code page
    if home := provide_home():
        note = f"Warning: HOME is not set: settings and models are in {home}. Set HOME to keep them."
        typer.echo(note, err=True)
    try:
        app(prog_name=PROGRAM)
    finally:
        if graphs := sys.modules.get("napari_melanoma.models.graphs"):  # a network was loaded
            graphs.convert_requested()
