"""Commands of other packages: a small installed package adds some; they are listed, run, and explained if they fail."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from napari_melanoma.cli import HELP_ORDER, app
from napari_melanoma.core import plugins

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "extending.md"
(EXAMPLE,) = re.findall(
    r"^## A command\n.*?^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
GROUP = """
import typer

group = typer.Typer(help="Several commands.", no_args_is_help=True)


@group.command()
def first() -> None:
    typer.echo("done")


@group.command()
def second() -> None:
    typer.echo("done twice")
"""
ENTRY_POINTS = """[napari_melanoma.commands]
count = counting_commands:COMMAND
data count = counting_commands:COMMAND
several = counting_commands:group
broken = module_that_is_missing:COMMAND
lesion = counting_commands:COMMAND
"""


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package outside the tree that adds commands."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "counting_commands.py").write_text(EXAMPLE + GROUP, encoding="utf-8")
    information = folder / "counting-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    plugins.refresh()
    yield folder
    monkeypatch.undo()
    plugins.refresh()
    sys.modules.pop("counting_commands", None)


def test_commands_of_a_package_are_listed_and_run(
    package: Path, photographs: Path, run: Callable, lines: Callable
) -> None:
    assert get_command(app).list_commands(None)[-3:] == ["broken", "count", "several"]
    assert "counting_commands" not in sys.modules, "names are listed without an import"
    listed = run("--help").stdout
    for expected in (
        "count      Count the photographs of a folder.\n",
        "broken     Not available.\n",
        "several    Several commands.\n",
    ):
        assert expected in listed
    assert lines(run("count", photographs, "--json").stdout)[-1]["count"] == 3
    assert "napari-melanoma count . --json" in run("count", "--help").stdout
    assert run("several", "first").stdout == "done\n"
    assert "count         Count the photographs of a folder.\n" in run("data", "--help").stdout
    assert lines(run("data", "count", photographs, "--json").stdout)[-1]["count"] == 3
    assert "Segment the lesion" in run("lesion", "--help").stdout, "own commands take precedence"


def test_a_command_that_cannot_be_imported_states_its_package(package: Path, run: Callable) -> None:
    result = run("broken", "file.txt", "--speed", "3")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert message.startswith("Error: 'broken' of counting 1.0 cannot be used (entry point napari_melanoma.commands: ")
    assert "ModuleNotFoundError: No module named 'module_that_is_missing'. Update the package: pip install" in message


def test_commands_of_extensions_are_suggested_after_a_typing_error(run: Callable) -> None:
    result = run("reproduc")
    assert result.exit_code == 2
    assert "Did you mean 'reproduce'?" in " ".join(result.stderr.split())


def test_the_help_lists_each_command_of_this_package_once() -> None:
    for prefix, names in HELP_ORDER.items():
        group = get_command(app)
        for name in prefix.split():
            group = group.get_command(None, name)
        assert group.list_commands(None) == list(names)


def test_the_help_reads_the_metadata_of_a_package_once(monkeypatch) -> None:
    kind = type(importlib.metadata.distribution("napari-melanoma"))
    read, metadata = [], kind.metadata.fget
    monkeypatch.setattr(kind, "metadata", property(lambda package: read.append(package) or metadata(package)))
    assert len(plugins.list_plugins.__wrapped__()) > 10
    assert len(read) == 2  # name and version


def test_an_own_command_runs_without_looking_for_others() -> None:
    script = (
        "import sys\n"
        "from napari_melanoma.cli import app\n"
        "app(['lesion', '--help'], standalone_mode=False)\n"
        "from napari_melanoma.core import plugins\n"
        "extensions = [name for name in sys.modules if name.startswith('napari_melanoma.extensions')]\n"
        "sys.exit(', '.join(extensions) or plugins.list_plugins.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
