"""The Python interpreter of child processes, also inside an application bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napari_melanoma.core.processes import python_executable


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
