"""The Python interpreter of child processes, also inside an application bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_melanoma.core.processes import python_command, python_executable


@pytest.mark.parametrize(
    ("program", "companion", "expected"),
    [
        ("bin/python3.11", (), "bin/python3.11"),
        ("MacOS/napari", ("bin/python3",), "bin/python3"),
        ("pythonw.exe", ("python.exe", "bin/python3"), "python.exe"),
        ("napari", (), "napari"),  # nothing better is known
    ],
)
def test_the_interpreter_is_found(
    program: str, companion: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (program, *companion):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / program))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert Path(python_executable()) == tmp_path / expected


def test_a_child_process_writes_utf8_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "unit.py").write_text("print('µm²')", encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # as on Windows: not UTF-8
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), **locale}
    command = python_command(module="unit")
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["µm²".encode()]
