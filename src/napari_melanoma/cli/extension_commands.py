"""Commands of extensions and other installed packages, found through entry points and imported when they are used.

An entry point of the group ``napari_melanoma.commands`` has the name of the command, such as ``search`` or ``data
baseline``; its object is a ``Command``, or a ``typer.Typer`` with several commands.
"""

from __future__ import annotations

from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_group

from napari_melanoma.cli.options import Command, add_command
from napari_melanoma.cli.session import command_session
from napari_melanoma.core.errors import PluginError
from napari_melanoma.core.plugins import Family, Plugin, list_plugins

PROGRAM = "napari-melanoma"
FAMILY = "commands"
# By topic; commands of other packages come last.
HELP_ORDER = {
    "": (
        *("open", "lesion", "slide", "export", "readings", "relation", "risk"),
        *("train", "adapt", "evaluate", "biomarkers", "compare", "reproduce"),
        *("case", "report", "audit", "doctor", "demo"),
        *("data", "models", "recipes", "runs", "phantom", "tissue"),
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
            add_command(app, name, command.function, command.help_text)
        else:
            app.add_typer(command, name=name)
    return get_group(app).commands[name]


def _expect_command(name: str, found: object) -> Command | typer.Typer:
    if isinstance(found, Command | typer.Typer):
        return found
    raise TypeError(f"expected a Command or a typer.Typer, found {found!r}")


COMMANDS: Family[Command | typer.Typer] = Family(FAMILY, dict, _expect_command, lambda command: "")
