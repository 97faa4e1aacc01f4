"""What napari sees: a manifest without a fault (one would make the plugin disappear), each name leading somewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_melanoma
from napari_melanoma.samples.catalog import FOLDER, load_samples

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = Path(napari_melanoma.__file__).parent / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def commands_used(manifest: PluginManifest) -> Iterator[str]:
    contributions = manifest.contributions
    for kind in (contributions.readers, contributions.writers, contributions.widgets, contributions.sample_data):
        yield from (item.command for item in kind or [] if getattr(item, "command", None))
    for items in (contributions.menus or {}).values():
        yield from (item.command for item in items if getattr(item, "command", None))


def test_the_manifest_belongs_to_this_package(manifest: PluginManifest) -> None:
    assert manifest.name == "napari-melanoma"
    assert manifest.display_name == "Melanoma"
    entry_points = metadata.entry_points(group="napari.manifest", name="napari-melanoma")
    assert {entry.value for entry in entry_points} == {"napari_melanoma:napari.yaml"}


def test_the_installed_command_shows_its_version() -> None:
    """Other tests run the command line in their own process or with ``python -m``."""
    command = shutil.which("napari-melanoma", path=sysconfig.get_path("scripts"))
    assert command is not None
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"napari-melanoma {napari_melanoma.__version__}\n"


@pytest.mark.skipif(os.name == "nt", reason="git on Windows checks a link out as a text file")
def test_the_root_has_a_relative_link_to_the_one_manifest() -> None:
    link = REPOSITORY / "napari.yaml"
    if not link.is_symlink():
        pytest.skip("needs a checkout: an archive may hold a copy in place of the link")
    assert not link.readlink().is_absolute()
    assert link.resolve() == (REPOSITORY / "src" / "napari_melanoma" / "napari.yaml").resolve()


def test_every_python_name_leads_to_something_callable(manifest: PluginManifest) -> None:
    pytest.importorskip("qtpy", reason="the widgets need a Qt binding")
    commands = manifest.contributions.commands or []
    assert [command.id for command in commands if not callable(import_python_name(command.python_name))] == []
    assert len(commands) > 0


def test_every_dock_and_every_tool_is_offered(manifest: PluginManifest) -> None:
    pytest.importorskip("qtpy", reason="the tools need a Qt binding")
    from napari_melanoma.ui import tools

    widgets = {widget.display_name: widget.command for widget in manifest.contributions.widgets or []}
    docks = {"Lesion", "Train", "Review", "Case", "Slide", "Tray"}
    assert docks <= widgets.keys()
    found = {command.removeprefix("napari-melanoma.") for name, command in widgets.items() if name not in docks}
    assert found == set(tools.__all__)


def test_titles_say_what_a_command_does(manifest: PluginManifest) -> None:
    """They are listed in napari's command palette; the reader and the writer cannot be run from it."""
    commands = {command.id: command for command in manifest.contributions.commands or []}
    for widget in manifest.contributions.widgets or []:
        assert commands[widget.command].title == widget.display_name
    called_with_files = [*(manifest.contributions.readers or []), *(manifest.contributions.writers or [])]
    disabled = {name for name, command in commands.items() if command.enablement == "False"}
    assert disabled == {item.command for item in called_with_files}


def test_every_command_is_declared_once_and_used(manifest: PluginManifest) -> None:
    declared = [command.id for command in manifest.contributions.commands or []]
    assert len(declared) == len(set(declared))
    assert set(declared) == set(commands_used(manifest))
    assert [name for name in declared if not name.startswith("napari-melanoma.")] == []


def test_every_menu_is_one_that_napari_shows(manifest: PluginManifest) -> None:
    """Menus that cannot be contributed to validate, and then vanish."""
    from napari._app_model.constants import MenuId

    shown = {menu.value for menu in MenuId.contributables()}
    own = {submenu.id for submenu in manifest.contributions.submenus or []}
    assert set(manifest.contributions.menus or {}) <= shown | own


def test_no_key_bindings_are_declared(manifest: PluginManifest) -> None:
    """Manifest key bindings validate and are ignored: keys belong to the docks."""
    assert not manifest.contributions.keybindings


def test_every_reader_pattern_has_a_reader_for_it(manifest: PluginManifest) -> None:
    from napari_melanoma.io import geojson
    from napari_melanoma.io.discovery import SUFFIXES
    from napari_melanoma.slides.reading.detection import FOLDER_ENDINGS, SCANNER_SUFFIXES

    regions = [suffix for suffix in geojson.SUFFIXES if suffix != ".json"]  # which many programs write
    patterns = {
        pattern.lower() for reader in manifest.contributions.readers or [] for pattern in reader.filename_patterns
    }
    assert patterns == {f"*{ending}" for ending in (*SUFFIXES, *SCANNER_SUFFIXES, *FOLDER_ENDINGS, *regions)}


@pytest.mark.slow
def test_the_built_wheel_has_a_valid_manifest(tmp_path: Path) -> None:
    build = [sys.executable, "-W", "ignore", "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("napari_melanoma-*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    (declared,) = site.glob("*.dist-info/entry_points.txt")
    assert "[napari.manifest]\nnapari-melanoma = napari_melanoma:napari.yaml" in declared.read_text()
    (licenses,) = site.glob("*.dist-info/licenses/LICENSES/images.md")
    assert licenses.read_bytes() == (REPOSITORY / "LICENSES" / "images.md").read_bytes()
    packed = site / "napari_melanoma" / "samples"
    for path in (path for sample in load_samples().values() for path in sample.files):
        assert (packed / path.relative_to(FOLDER)).read_bytes() == path.read_bytes()
    (package,) = site.glob("*.dist-info/METADATA")
    assert "Classifier: Framework :: napari\n" in package.read_text()
    validate = ["-m", "npe2", "validate", "--imports", str(site / "napari_melanoma" / "napari.yaml")]
    paths = {**os.environ, "PYTHONPATH": str(site)}  # before the installed package
    done = subprocess.run([sys.executable, "-W", "ignore", *validate], env=paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Manifest for 'Melanoma' valid" in done.stdout


@pytest.mark.slow
def test_the_source_distribution_has_samples_examples_and_licenses(tmp_path: Path) -> None:
    build = [sys.executable, "-W", "ignore", "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (source,) = tmp_path.glob("napari_melanoma-*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    examples = [path for path in (REPOSITORY / "examples" / "photographs").rglob("*") if path.is_file()]
    samples = [path for sample in load_samples().values() for path in sample.files]
    expected = [*examples, *samples, REPOSITORY / "LICENSES" / "images.md"]
    assert len(examples) == 65
    assert {path.relative_to(REPOSITORY) for path in expected} - packed == set()
