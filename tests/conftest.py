"""Shared by all tests: separate folders instead of the user's, one Qt binding, a virtual display, small models."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from types import CodeType

    import numpy as np
    from numpy.typing import NDArray
    from typer.testing import Result

    from napari_melanoma.models.bundle import BundleInfo

REPOSITORY = Path(__file__).resolve().parent.parent
# Their tests write many figures.
WITHOUT_LAYOUT = ("classification", "cli", "data", "evaluation", "extensions", "lesion", "runs", "training")

# platformdirs looks at the first four on Linux and macOS and at the others on Windows.
FOLDERS = {
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_CACHE_HOME": "cache",
    "XDG_STATE_HOME": "state",
    "WIN_PD_OVERRIDE_LOCAL_APPDATA": "data",
    "WIN_PD_OVERRIDE_APPDATA": "config",
}


def _point_at(home: Path) -> dict[str, str]:
    """Environment variables that make programs keep a user's files below ``home``."""
    folders = {variable: str(home / name) for variable, name in FOLDERS.items()}
    return {**folders, "NAPARI_CONFIG": str(home / "config" / "napari" / "settings.yaml")}


def _choose_binding() -> None:
    """Let qtpy and pytest-qt agree on a binding: left alone, each looks for another one first."""
    installed = [name for name in ("PyQt6", "PySide6") if importlib.util.find_spec(name)]
    if installed:
        os.environ.setdefault("QT_API", installed[0].lower())
        os.environ["PYTEST_QT_API"] = os.environ["QT_API"]


def _keep_bytecode() -> None:
    """Let the processes of the tests share what one of them has compiled, also where none may write beside the sources.

    Containers often forbid that (PYTHONDONTWRITEBYTECODE), and uv installs packages uncompiled: then each of some
    hundred processes compiles torch or napari again, which takes longer than most tests.
    """
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(REPOSITORY / "build" / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def _import_triton_first() -> None:
    """Load triton's LLVM before a software-rendered canvas loads Mesa's: the other way round the process is killed."""
    with suppress(ImportError):  # no such wheel on macOS and Windows, and no need
        import triton  # noqa: F401


_keep_bytecode()  # before anything large is imported

# As early as this, because napari reads NAPARI_CONFIG, and QSettings its folder, once in a process.
_home = tempfile.mkdtemp(prefix="napari-melanoma-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ.update(_point_at(Path(_home)))
_choose_binding()
_import_triton_first()
gc.set_threshold(10_000)  # as often as by default, looking for garbage takes a twentieth of the time

# No deadline: it would measure the machine. Continuous integration tries the same examples each time.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")
# Hypothesis would parse our modules for constants to try: that takes seconds in each process, and the examples would
# depend on what the tests before have imported.
providers = sys.modules.get("hypothesis.internal.conjecture.providers")
if hasattr(providers, "is_local_module_file"):
    vars(providers)["is_local_module_file"] = lambda path: False


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Only check what is given to ``os.fsync``: thousands of calls wait for the disk, and no test cuts the power.

    Processes that tests start, and kill, really write.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_conversions() -> Iterator[None]:
    """Start no process that writes the graphs of a model without graphs: it would outlive the test."""
    from napari_melanoma.models import graphs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "spawn_detached", lambda *_: None)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; CONTRIBUTING.md has their rules."""
    config.addinivalue_line("markers", "slow: takes more than about a second, run by `make test-all` only")
    config.addinivalue_line("markers", "real_data: needs the real photographs or slides of the fixture shared_data")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what uses real images, also through other fixtures."""
    if "shared_data" in getattr(item, "fixturenames", ()):
        item.add_marker("real_data")


@pytest.fixture(scope="session")
def qapp_args(qapp_args: list[str]) -> list[str]:
    """Start a virtual display for the windows of this process, so that no window pops up or takes the focus of another.

    Without Xvfb, or where QT_QPA_PLATFORM is set, windows open where Qt opens them.
    """
    server = shutil.which("Xvfb")
    if sys.platform == "linux" and server is not None and "QT_QPA_PLATFORM" not in os.environ:
        receiver, sender = os.pipe()
        command = [server, "-displayfd", str(sender), "-terminate", "-screen", "0", "1920x1200x24", "-nolisten", "tcp"]
        display = subprocess.Popen(command, pass_fds=[sender], stderr=subprocess.DEVNULL)
        atexit.register(display.kill)
        os.close(sender)
        with os.fdopen(receiver) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        os.environ.pop("WAYLAND_DISPLAY", None)
    return qapp_args


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs and slides; skips without it, or where NAPARI_MELANOMA_DATA names no folder."""
    named = os.environ.get("NAPARI_MELANOMA_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real photographs: no folder {folder} (NAPARI_MELANOMA_DATA names another)")
    return folder


@pytest.fixture
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty folders for settings, data and caches, for this test alone; QSettings follows where Qt is loaded."""
    home = tmp_path / "home"
    for variable, folder in _point_at(home).items():
        monkeypatch.setenv(variable, folder)
    _send_qsettings_to(home)
    yield home
    _send_qsettings_to(Path(_home))


def _send_qsettings_to(home: Path) -> None:
    """Point QSettings at a folder: it reads the environment once in a process and remembers."""
    if "qtpy" in sys.modules:
        from qtpy.QtCore import QSettings

        for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
            QSettings.setPath(kind, QSettings.Scope.UserScope, str(home / "config"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, in an empty folder."""
    from typer.testing import CliRunner

    from napari_melanoma.cli import app

    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def lines() -> Callable[[str], list[dict[str, Any]]]:
    """Read JSON lines."""
    return lambda text: [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle with random weights, which can be loaded in no time and answers nonsense."""
    import torch

    from napari_melanoma.models.bundle import BundleConfig, write_bundle
    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    options = {"encoder": "test_efficientnet", "decoder_channels": 16}
    config = BundleConfig(name="tiny", title="Random", architecture="deeplabv3plus", options=options, input_size=64)
    network = build_network(config.architecture, options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", config, network, "# tiny\n")


@pytest.fixture(scope="session")
def prompted_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle with random weights that answers prompts."""
    import torch

    from napari_melanoma.models.bundle import BundleConfig, write_bundle
    from napari_melanoma.models.zoo import build_network, list_architectures

    torch.manual_seed(0)
    options = list_architectures()["prompted_unet"].spec.small
    config = BundleConfig(name="prompted", title="Random", architecture="prompted_unet", options=options, input_size=64)
    network = build_network(config.architecture, options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "prompted", config, network, "# prompted\n")


@pytest.fixture(scope="session")
def adapted_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """The shipped classifier, adapted to phantoms with a dark or a bright lesion, and with a class that it lacks."""
    from PIL import Image

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
    from napari_melanoma.runs.adapting import adapt

    data = tmp_path_factory.mktemp("clinic")
    for name in ("images", "masks"):
        (data / name).mkdir()
    lines = ["image_id,lesion_id,diagnosis,modality,age,sex"]
    for index in range(40):
        phantom = lesion_phantom(LesionPhantomConfig(seed=index, size=(120, 160)))
        diagnosis = ("melanoma", "nevus", "basal cell carcinoma", "nevus")[index % 4]
        brightness = {"melanoma": 0.4, "nevus": 1.0, "basal cell carcinoma": 0.7}[diagnosis]
        rgb = phantom.rgb.copy()
        rgb[phantom.mask] = rgb[phantom.mask] * brightness
        Image.fromarray(rgb).save(data / "images" / f"i{index:02}.png")
        Image.fromarray(phantom.mask.astype("uint8") * 255).save(data / "masks" / f"i{index:02}.png")
        lines.append(f"i{index:02},L{index},{diagnosis},dermoscopic,{30 + index},{('male', 'female')[index // 4 % 2]}")
    (data / "dataset.csv").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path_factory.mktemp("bundles") / "melanoma-clinic"
    info = adapt(find_bundle("melanoma-small"), data, out, run=RunContext()).bundle
    assert info is not None
    assert info.config.options["adapted_classes"] == 3
    assert info.config.classes == ("melanoma", "nevus", "seborrheic keratosis", "basal cell carcinoma")
    return info


@pytest.fixture(params=["shipped", pytest.param("adapted", marks=pytest.mark.slow)])
def melanoma_bundle(request: pytest.FixtureRequest) -> BundleInfo:
    """The shipped classifier of dermoscopic photographs, and one that was adapted from it."""
    from napari_melanoma.models.installed_bundles import find_bundle

    return find_bundle("melanoma-small") if request.param == "shipped" else request.getfixturevalue("adapted_bundle")


@pytest.fixture
def trained_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the test that are no bundles on disk state that they were trained on no image."""
    from napari_melanoma.data.training_images import TrainingImages
    from napari_melanoma.evaluation import training_overlap

    def stated(info: BundleInfo) -> TrainingImages:
        return TrainingImages()

    monkeypatch.setattr(training_overlap, "read_training_images", stated)


@pytest.fixture(scope="session")
def drawn_figures() -> dict[tuple[CodeType, str], bytes]:
    """The figures that ``quick_figures`` has drawn, by the function that draws them and their name."""
    return {}


@pytest.fixture(scope="session")
def detected_features() -> dict[str, dict[str, object]]:
    """The features that ``features_found_once`` has found, by the content of the image."""
    return {}


@pytest.fixture(scope="module")
def features_found_once(detected_features: dict[str, dict[str, object]]) -> Iterator[None]:
    """Find the local features of equal images once: this takes most of the time of a comparison of photographs."""
    from skimage.feature import SIFT

    from napari_melanoma.core.provenance import array_fingerprint

    detect = SIFT.detect_and_extract

    def detect_once(finder: SIFT, image: NDArray[np.float32]) -> None:
        key = array_fingerprint(image)
        if key not in detected_features:
            try:
                detect(finder, image)
            except RuntimeError:  # none
                detected_features[key] = {}
            else:
                detected_features[key] = vars(finder).copy()
        if not detected_features[key]:
            raise RuntimeError
        vars(finder).update(detected_features[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SIFT, "detect_and_extract", detect_once)
        yield


BUILD_WHEEL = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="session")
def example_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in ``examples/plugin``, built and unpacked as pip does with a target, without a network."""
    folder = tmp_path_factory.mktemp("plugin")
    source, wheels, target = folder / "source", folder / "wheels", folder / "site"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(REPOSITORY / "examples/plugin", source, ignore=ignored)
    wheels.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", BUILD_WHEEL, str(wheels)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    shutil.unpack_archive(wheel, target, "zip")
    return target


@pytest.fixture
def installed_plugin(example_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package in ``examples/plugin``, installed for this test alone; the folder of the installation."""
    from napari_melanoma.core import plugins

    monkeypatch.syspath_prepend(str(example_plugin))
    plugins.refresh()
    yield example_plugin
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.partition(".")[0] == "melanoma_example"]:
        del sys.modules[name]
    plugins.refresh()


@pytest.fixture(scope="module")
def quick_figures(drawn_figures: dict[tuple[CodeType, str], bytes]) -> Iterator[None]:
    """Figures that are not laid out, and of each kind one that is drawn; how they look tests/figures is about."""
    from matplotlib.figure import Figure

    save = Figure.savefig

    def saved(figure: Figure, path: Path, **more: object) -> None:
        name = path.name.split(".")[1].split("-")[0]  # of a temporary file: .roc-models.0123abcd.png
        kind = (sys._getframe(1).f_code, name)  # several functions draw a figure named "subgroups"
        if kind not in drawn_figures:
            figure.set_layout_engine("none")
            save(figure, path, **more)
            drawn_figures[kind] = path.read_bytes()
        path.write_bytes(drawn_figures[kind])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", saved)
        yield


@pytest.fixture(scope="module", autouse=True)
def figures(request: pytest.FixtureRequest) -> None:
    """Skip the layout of figures in the tests of packages that write many."""
    if request.path.relative_to(Path(__file__).parent).parts[0] in WITHOUT_LAYOUT:
        request.getfixturevalue("quick_figures")
