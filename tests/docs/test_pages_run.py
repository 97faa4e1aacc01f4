"""The commands and Python examples of a page run in its order, in one folder, on phantoms.

``page_readers`` has the files that pages expect of their readers, and what cannot run. Commands run in this process,
after a shell has expanded them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import page_files as make
import pytest
from page_files import Files
from page_readers import EXAMPLES_NOT_RUN, NOT_RUN, READERS, Reader
from pages import PAGES, PROGRAM, SHELL, blocks, command_lines, name_of
from typer.testing import CliRunner

import napari_melanoma as nm
from napari_melanoma.cli import app
from napari_melanoma.core.run_folder import PROCESS_FILE
from napari_melanoma.models import graphs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("user_folders", "quick_figures", "features_found_once"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the pages are written for bash"),
]

# Pages of lines that need no line before them: those that another page shows too do not run again.
SUMMARIES = (
    "CONTRIBUTING.md",
    "docs/how-to/extending.md",
    "docs/how-to/installing.md",
    "docs/reference/networks.md",
    "docs/reference/python-api.md",
)
# The same command on less data.
SMALLER = {
    r"--trials \d+": "--trials 2",
    r"--split test (--tissue-model|--out biomarkers)": r"--split train \1",  # two patients are in the test set
    r"--processes \d+": "--processes 2",
    r"--count (?!3 )\d+": "--count 12",
    r"--size 16384": "--size 6144",
    r"(phantom slide --out slides) --seed": r"\1 --size 4096 --seed",
}


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export no trained network for ONNX Runtime: it takes seconds, and torch runs it as well."""
    monkeypatch.setattr(graphs, "write_graphs", lambda *_, **__: None)


def is_run(line: str) -> bool:
    return not any(re.match(pattern, line) for pattern in NOT_RUN)


def expand(line: str) -> list[str]:
    """The words of a command line as a shell passes them to a program."""
    command = ["bash", "-c", f"printf '%s\\0' {line}"]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.split("\0")[:-1]


def run_line(line: str, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a line; returns what is wrong."""
    build_all(reader.before.get(line, {}))
    smaller = line
    for pattern, less in SMALLER.items():
        smaller = re.sub(pattern, less, smaller)
    if not smaller.startswith((f"{PROGRAM} ", "python -m napari_melanoma ", "export ")):
        found = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8")
        return "" if found.returncode == 0 else f"{line}\n{found.stdout}{found.stderr}"
    words = expand(smaller)
    if words[0] == "export":
        for assignment in words[1:]:
            monkeypatch.setenv(*assignment.split("=", 1))
        return ""
    if words[0] == "python":
        words = [PROGRAM, *words[3:]]
    if words[1] == "train":
        for recipe in (word for word in words[2:] if word.endswith(".toml")):
            make.shrink_recipe(Path(recipe))
    result = CliRunner().invoke(app, words[1:])
    for path in Path().rglob(PROCESS_FILE):  # for others, the run ends with its process
        path.unlink()
    expected, _ = reader.exits.get(line, (0, ""))
    return "" if result.exit_code == expected else f"{line}\n{result.output[-1500:]}\n{result.exception!r}"


def build_all(files: Files) -> None:
    for name, build in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        build(Path(name).absolute())


def find_page(name: str) -> Path:
    return next(path for path in PAGES if name_of(path) == name)


def lines_of(page: str) -> list[str]:
    shown = [block for block in blocks(find_page(page)) if block.language in SHELL and not block.is_script]
    return [line for block in shown for line in command_lines(block)]


@cache
def lines_to_run() -> dict[str, list[str]]:
    found = {name_of(page): [line for line in lines_of(name_of(page)) if is_run(line)] for page in PAGES}
    elsewhere = {line for page, lines in found.items() if page not in SUMMARIES for line in lines}
    for page in SUMMARIES:
        found[page] = [line for line in found[page] if line not in elsewhere]
    return {page: lines for page, lines in found.items() if lines}


def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    train = nm.train

    def train_quickly(recipe: dict[str, Any], *arguments: object, **options: Any) -> object:
        values = recipe | {"epochs": 1, "batch_size": 4, "samples": 1, "model": {"input_size": 64}}
        return train(values, *arguments, **options | ({"folds": 2} if "folds" in options else {}))

    monkeypatch.setattr(nm, "train", train_quickly)


def examples_of(page: str) -> list[str]:
    shown = [block.text for block in blocks(find_page(page)) if block.language == "python"]
    return [text for text in shown if not any(part in text for part in EXAMPLES_NOT_RUN)]


@pytest.mark.filterwarnings("ignore:.*(with two classes|one stroke|on one slide):UserWarning")  # as drawn here
@pytest.mark.parametrize("page", [name_of(page) for page in PAGES if examples_of(name_of(page))])
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = READERS.get(page, Reader())
    build_all(reader.files)
    quick_training(monkeypatch)
    namespace: dict[str, object] = {"__name__": "__main__", **reader.names}
    for number, text in enumerate(examples_of(page), start=1):
        exec(compile(text, f"{page}, example {number}", "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("page", lines_to_run())
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = READERS.get(page, Reader())
    build_all(reader.files)
    problems = [run_line(line, reader, monkeypatch) for line in lines_to_run()[page]]
    assert [problem for problem in problems if problem] == []
