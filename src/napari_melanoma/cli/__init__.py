"""The command line ``napari-melanoma``: the application with all of its commands, and its entry point.

Each module of this package defines one or a few commands, which call functions of other packages. A command imports
them only when it runs, so that the help is shown without loading PyTorch or napari.

Commands of extensions and other installed packages are found through entry points and imported when they are used. An
entry point of the group ``napari_melanoma.commands`` has the name of the command, such as ``risk`` or ``studies
relation``; its object is a ``Command``, or a ``typer.Typer`` with several commands.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_group

from napari_melanoma.cli import application, data, evaluate, lesion, models, phantom, results, slide, studies, train
from napari_melanoma.cli.options import Command, add_command
from napari_melanoma.cli.session import command_session
from napari_melanoma.core.errors import PluginError
from napari_melanoma.core.packages import prepare_torch
from napari_melanoma.core.paths import provide_home
from napari_melanoma.core.plugins import Family, Plugin, list_plugins

__all__ = ["app", "main"]

PROGRAM = "napari-melanoma"
FAMILY = "commands"
# By topic; commands of other packages come last.
HELP_ORDER = {
    "": (
        *("open", "lesion", "slide", "export", "risk"),
        *("train", "adapt", "evaluate", "compare", "reproduce"),
        *("case", "report", "audit", "doctor", "demo"),
        *("data", "models", "recipes", "runs", "phantom", "tissue", "studies"),
    ),
    "data ": (
        *("import-masks", "check", "sources", "import", "export", "merge", "split", "duplicates", "tiles", "slides"),
        *("features", "baseline", "report", "harmonize"),
    ),
}


class ExtensibleGroup(TyperGroup):
    """The commands of this package, and those of plug-ins. The own commands run without looking for others."""

    @property
    def prefix(self) -> str:
        """Start of the full names of its commands, such as ``data ``; "" for the commands of the program itself."""
        return "" if self.name == PROGRAM else f"{self.name} "

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - types of click, which newer versions of typer copy
        """List the names of all commands in the order of the help; no command is imported."""
        own = super().list_commands(ctx)
        positions = {name: position for position, name in enumerate(HELP_ORDER.get(self.prefix, own))}
        names = {*own, *_find_plugins(self.prefix)}
        return sorted(names, key=lambda name: (positions.get(name, len(positions)), name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """Return a command by its name, imported; None if there is none."""
        if cmd_name not in self.commands:
            plugins = _find_plugins(self.prefix)
            # After a typing error all of them, since typer suggests commands among those that it knows.
            for name in [cmd_name] if cmd_name in plugins else plugins:
                self.commands.setdefault(name, _load_command(name, plugins[name]))
        return super().get_command(ctx, cmd_name)


def _find_plugins(prefix: str) -> dict[str, Plugin]:
    """Return the commands of extensions and other packages by name in their group; extensions take precedence."""
    found = {plugin.name: plugin for plugin in reversed(list_plugins()) if plugin.family == FAMILY}
    names = {name.removeprefix(prefix): name for name in found if name.startswith(prefix)}
    return {name: found[full] for name, full in names.items() if " " not in name}


def _load_command(name: str, plugin: Plugin) -> Any:  # noqa: ANN401 - a command of click
    """Import a command; if this fails, return one that states the reason."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        command = COMMANDS.load_plugin(plugin)
    except PluginError as error:  # which must not prevent the help
        failure = error

        def fail() -> NoReturn:
            with command_session(as_json=False, debug=False):
                raise failure

        accept_all = {"ignore_unknown_options": True, "allow_extra_args": True}
        app.command(name, help=str(failure), short_help="Not available.", context_settings=accept_all)(fail)
    else:
        if isinstance(command, Command):
            add_command(app, name, command.function, command.help_text, basic=command.basic)
        else:
            app.add_typer(command, name=name)
    return get_group(app).commands[name]


def _expect_command(name: str, found: object) -> Command | typer.Typer:
    if isinstance(found, Command | typer.Typer):
        return found
    raise TypeError(f"expected a Command or a typer.Typer, found {found!r}")


COMMANDS: Family[Command | typer.Typer] = Family(FAMILY, dict, _expect_command, lambda command: "")


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
add_command(app, "lesion", lesion.lesion, lesion.HELP, basic=lesion.BASIC)
add_command(app, "slide", slide.slide, slide.HELP, basic=slide.BASIC)
add_command(app, "export", results.export, results.EXPORT_HELP, more_help=results.list_export_formats)
add_command(app, "train", train.train, train.TRAIN_HELP)
add_command(app, "adapt", train.adapt, train.ADAPT_HELP)
add_command(app, "evaluate", evaluate.evaluate, evaluate.EVALUATE_HELP, basic=evaluate.EVALUATE_BASIC)
add_command(app, "compare", evaluate.compare, evaluate.COMPARE_HELP, basic=evaluate.COMPARE_BASIC)
add_command(app, "case", results.case, results.CASE_HELP)
add_command(app, "report", results.report, results.REPORT_HELP)
add_command(app, "doctor", application.doctor, application.DOCTOR_HELP)
add_command(app, "demo", application.demo, application.DEMO_HELP)
for name, group in {
    "data": data.app,
    "models": models.app,
    "recipes": train.recipes_app,
    "runs": train.runs_app,
    "phantom": phantom.app,
    "tissue": slide.tissue_app,
    "studies": studies.app,
}.items():
    app.add_typer(group, name=name, cls=ExtensibleGroup)


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
    # Otherwise pydantic reads the metadata of all installed packages for plug-ins, which takes 50 ms and more
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # pythonw.exe has none
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name outside the console's code page
    if home := provide_home():
        note = f"settings and models are in {home}. Set HOME to keep them."
        if not home.is_dir():
            note = "settings, models and temporary files cannot be stored. Set HOME and TMPDIR to writable folders."
        typer.echo(f"Warning: HOME is not set: {note}", err=True)
    try:
        app(prog_name=PROGRAM)
    finally:
        if graphs := sys.modules.get("napari_melanoma.models.graphs"):  # a network was loaded
            graphs.convert_requested()
