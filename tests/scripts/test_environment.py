"""Which versions and which PyTorch scripts/environment.sh installs, and whether the lock file fits pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCRIPT = REPOSITORY / "scripts" / "environment.sh"
LOCK = "packaging/lock.txt"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LOCKED_EXTRAS = ("pyqt6", "pyside6", "test")

# Stands for the Python of the environment: states whether torch is there and PyTorch's index can be reached, and notes
# how uv is started.
PYTHON = """#!/bin/sh
case "$*" in
    *find_spec*) exit $TORCH_ABSENT ;;
    *urlopen*) exit $INDEX_UNREACHABLE ;;
    "-m pip config list") echo "$PIP_SETTINGS" ;;
    "-m uv pip "*)
        printf '%s' "${UV_TORCH_BACKEND:-PyPI}" > "$NOTE"
        echo "$*" >> "$NOTE.commands"
        printf '%s' "${PIP_CERT:-}" > "$NOTE.certificates"
        case "$*" in *--constraint*) exit $LOCK_FAILS ;; esac ;;
    "-m pip install --editable "*--constraint*) exit $LOCK_FAILS ;;
esac
"""


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def install(folder: Path, *, system: str = "Linux", gpu: bool = False, **variables: str) -> tuple[str, str]:
    """Return the build of PyTorch that uv would install, and the messages."""
    write_program(folder / "env" / "bin" / "python", PYTHON)
    write_program(folder / "programs" / "uname", f"#!/bin/sh\necho {system}\n")
    write_program(folder / "programs" / "nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    kept = {name: value for name, value in os.environ.items() if name not in ("LOCK", "PIP_CERT", "UV_TORCH_BACKEND")}
    states = {"TORCH_ABSENT": "1", "INDEX_UNREACHABLE": "0", "LOCK_FAILS": "0", "NOTE": str(folder / "note")}
    environment = {**kept, **states, "PIP_SETTINGS": "", **variables}
    environment["PATH"] = f"{folder / 'programs'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", SCRIPT, folder / "env", "test"], env=environment, capture_output=True, text=True, check=True
    )
    return (folder / "note").read_text(encoding="utf-8"), done.stderr


pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or Path("/proc/driver/nvidia/version").exists(), reason="needs a machine without NVIDIA GPU"
)


def test_without_a_gpu_pytorch_for_processors_is_installed(tmp_path: Path) -> None:
    build, messages = install(tmp_path)
    assert build == "cpu"
    assert "no NVIDIA GPU found" in messages


def test_if_the_index_of_pytorch_cannot_be_reached_the_size_is_stated(tmp_path: Path) -> None:
    build, messages = install(tmp_path, INDEX_UNREACHABLE="1")
    assert build == "PyPI"
    assert "4 GB" in messages


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"gpu": True}, "PyPI"),
        ({"system": "Darwin"}, "PyPI"),
        ({"TORCH_ABSENT": "0"}, "PyPI"),
        ({"UV_TORCH_BACKEND": "cu130"}, "cu130"),
    ],
    ids=["NVIDIA GPU", "macOS", "PyTorch is installed", "own choice"],
)
def test_the_choice_is_left_alone(tmp_path: Path, machine: dict[str, object], expected: str) -> None:
    build, messages = install(tmp_path, **machine)
    assert build == expected
    assert "NVIDIA" not in messages


def list_commands(folder: Path) -> list[bool]:
    """Return, for each command of uv, whether it takes the versions of the lock file."""
    return [LOCK in line for line in (folder / "note.commands").read_text(encoding="utf-8").splitlines()]


def test_the_versions_of_the_lock_file_are_installed_on_linux(tmp_path: Path) -> None:
    install(tmp_path)
    assert list_commands(tmp_path) == [True]


@pytest.mark.parametrize("machine", [{"LOCK": "no"}, {"system": "Darwin"}], ids=["own choice", "macOS"])
def test_without_the_lock_file(tmp_path: Path, machine: dict[str, str]) -> None:
    install(tmp_path, **machine)
    assert list_commands(tmp_path) == [False]


def test_if_the_locked_versions_cannot_be_installed_the_newest_are(tmp_path: Path) -> None:
    _, messages = install(tmp_path, LOCK_FAILS="1")
    assert list_commands(tmp_path) == [True, False]
    assert f"the versions of {LOCK} cannot be installed here" in messages


@pytest.mark.skipif(not CERTIFICATES.exists(), reason="this system has its certificates elsewhere")
@pytest.mark.parametrize(("settings", "expected"), [("", str(CERTIFICATES)), ("global.cert='own.pem'", "")])
def test_pip_uses_the_certificates_of_the_system(tmp_path: Path, settings: str, expected: str) -> None:
    install(tmp_path, PIP_SETTINGS=settings)
    assert (tmp_path / "note.certificates").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_file_has_an_allowed_version_of_each_dependency(python: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }

    def applies(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate(environment)

    pins = {}
    for line in (REPOSITORY / LOCK).read_text(encoding="utf-8").splitlines():
        pin = Requirement(line)
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"expected one version, found: {line}"
        if applies(pin):
            assert pin.name not in pins, f"two versions of {pin.name}"
            pins[pin.name] = str(pin.specifier).removeprefix("==")
    waiting = [*project["dependencies"], *(line for extra in LOCKED_EXTRAS for line in extras[extra])]
    while waiting:
        needed = Requirement(waiting.pop())
        if canonicalize_name(needed.name) == project["name"]:
            waiting += [line for extra in needed.extras for line in extras[extra]]
        elif applies(needed):
            found = pins.get(canonicalize_name(needed.name))
            assert found in needed.specifier if found else False, f"{needed} is needed, found {found}. Run: make lock"
