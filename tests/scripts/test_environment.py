"""Which PyTorch scripts/environment.sh installs: that for processors, if no NVIDIA GPU is found and it is available."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "environment.sh"

# Stands for the Python of the environment: states whether torch is there and PyTorch's index can be reached, and notes
# how uv is started.
PYTHON = """#!/bin/sh
case "$*" in
    *find_spec*) exit $TORCH_ABSENT ;;
    *urlopen*) exit $INDEX_UNREACHABLE ;;
    "-m uv "*) printf '%s' "${UV_TORCH_BACKEND:-PyPI}" > "$NOTE" ;;
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
    kept = {name: value for name, value in os.environ.items() if name != "UV_TORCH_BACKEND"}
    environment = {**kept, "TORCH_ABSENT": "1", "INDEX_UNREACHABLE": "0", "NOTE": str(folder / "note"), **variables}
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
