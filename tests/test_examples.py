"""The notebooks in examples/notebooks/ run from the first to the last cell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "examples" / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def command_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty folder, the command line in this process, and figures that are closed at the end."""
    from matplotlib import pyplot

    run = subprocess.run

    def run_here(words: list[str], **options: Any) -> object:
        if words[0] != "napari-melanoma":
            return run(words, **options)
        assert options == {"check": True}
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.output
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run_here)
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.mark.usefixtures("user_folders", "quick_figures")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path) -> None:
    """The cells share a namespace as in a kernel; they and their commands run in this process, with its imports."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell.get("outputs") for cell in cells)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, source in enumerate(code, start=1):
        exec(compile(source, f"{notebook.stem}, code cell {number}", "exec", dont_inherit=True), namespace)
