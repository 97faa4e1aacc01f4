"""Plug-ins: packages and files are listed without being run; a broken one is left out, with a reason."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from napari_melanoma.core import plugin_check, plugins
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.losses import LOSSES, losses
from napari_melanoma.training.recipe import TrainRecipe

LOSS = """
from napari_melanoma.training.losses import LossSpec, list_loss

@list_loss(LossSpec(name="{name}", title="Absolute error", reference="none"))
def error(logits, target):
    return (logits.sigmoid() - target).abs().mean()
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a module and its entry points on the path, as an installation does."""

    def add(code: str, package: str = "other-package", group: str = "losses", name: str = "absolute") -> None:
        module, folder = package.replace("-", "_"), tmp_path / package
        information = folder / f"{module}-1.2.dist-info"
        information.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (information / "entry_points.txt").write_text(f"[napari_melanoma.{group}]\n{name} = {module}:error\n")
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop(module, None)
        plugins.refresh()

    yield add
    monkeypatch.undo()
    plugins.refresh()


def test_a_package_with_damaged_entry_points_is_left_out(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Importlib reads those of all packages at once, so another one would end every command."""
    install(LOSS.format(name="absolute"))
    install("", package="damaged")
    (tmp_path / "damaged/damaged-1.2.dist-info/entry_points.txt").write_text("[console_scripts]\nno value\n")
    plugins.refresh()
    assert [plugin.package for plugin in plugins.list_plugins() if plugin.package != plugins.PACKAGE] == [
        "other-package"
    ]
    assert "damaged-1.2.dist-info cannot be read" in caplog.text


def test_the_entry_points_of_the_project_are_installed(repository: Path) -> None:
    """If not, install the package again: ``make env``."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {
        (group.removeprefix(plugins.PREFIX), name, value)
        for group, values in project["entry-points"].items()
        for name, value in values.items()
        if group != "napari.manifest"
    }
    own = [plugin for plugin in plugins.list_plugins() if plugin.package == plugins.PACKAGE]
    assert {(plugin.family, plugin.name, plugin.value) for plugin in own} == declared
    assert {plugin.version for plugin in own} == {metadata.version(plugins.PACKAGE)}


def test_the_families_have_their_names() -> None:
    assert {name: plugins.find_family(name).name for name in plugins.FAMILIES} == {
        name: name for name in plugins.FAMILIES
    }


def test_a_package_adds_a_loss_after_those_of_this_package(install: Install) -> None:
    own = list(losses())
    install(LOSS.format(name="absolute"))
    assert "other_package" not in sys.modules  # not yet
    assert [plugin.name for plugin in plugins.list_plugins() if plugin.package != plugins.PACKAGE] == ["absolute"]
    assert "other_package" not in sys.modules
    assert list(losses()) == [*own, "absolute"]
    assert LOSSES.label("absolute") == "Absolute error (other-package)"
    assert LOSSES.label("bce") == "Binary cross-entropy"
    assert TrainRecipe.parse({"data": {"datasets": ["a"]}, "loss": "absolute"}, "the test").loss == "absolute"


class Broken(NamedTuple):
    """The code of a plug-in that cannot be used, and the reason in the message."""

    name: str
    code: str
    reason: str


BROKEN = (
    Broken("does not import", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    Broken("ends the program", "raise SystemExit(3)", "SystemExit: 3"),
    Broken("has no such object", "", "has no attribute 'error'"),
    Broken("is not a loss", "def error(logits, target): ...", "expected a Loss (a function with list_loss"),
    Broken("has another name", LOSS.format(name="other"), "expected the name of its entry point, 'absolute', found"),
    Broken("loads torch", "import torch", "expected imports of torch inside functions only"),
)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_plugin_is_left_out_with_a_reason(
    case: Broken, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = list(losses())
    for module in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, module)  # as in a viewer
    install(case.code)
    assert list(losses()) == own
    (error,) = LOSSES.errors.values()
    assert case.reason in str(error)
    assert "'absolute' of other-package 1.2" in str(error)
    assert "napari_melanoma.losses: absolute = other_package:error" in str(error)
    assert str(error).endswith("Update the package: pip install --upgrade other-package")
    with pytest.raises(ConfigError) as raised:
        TrainRecipe.parse({"data": {"datasets": ["a"]}, "loss": "absolute"}, "the test")
    assert case.reason in str(raised.value)


def test_a_name_that_exists_is_refused(install: Install) -> None:
    before = losses()["bce"]
    install(LOSS.format(name="bce"), name="bce")
    assert losses()["bce"] is before
    assert "expected a new name, found one that napari-melanoma uses" in str([*LOSSES.errors.values()])
    install(LOSS.format(name="absolute"), "a-package")
    install(LOSS.format(name="absolute"), "b-package")
    assert LOSSES.label("absolute") == "Absolute error (a-package)"
    assert "found one that a-package 1.2 uses" in str([*LOSSES.errors.values()])


def test_what_packages_add_and_why_some_cannot_be_used_is_listed(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("error = 3")
    install("error = 3", "odd-package", group="models")
    assert {package: plugins.describe_objects(added) for package, added in plugins.list_packages().items()} == {
        "other-package 1.2": "losses: absolute",
        "odd-package 1.2": "models: absolute",
    }
    plugin_check.main()
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert "expected a family of networks" in errors["odd-package"][0]
    assert "expected a Loss" in errors["other-package"][0]
