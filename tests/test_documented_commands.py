"""Every command line that the documents show is one that the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from napari_melanoma.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def shown(program: str) -> list[str]:
    """Give the command lines of all shell blocks that start with a program."""
    blocks = [block for document in DOCUMENTS for block in BLOCK.findall(document.read_text(encoding="utf-8"))]
    lines = {line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()}
    return sorted(line for line in lines if line.split(" ")[0] == program)


@pytest.mark.parametrize("line", shown("napari-melanoma"))
def test_the_program_understands(line: str) -> None:
    from typer.main import get_command

    command, words = get_command(app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.get_command(None, words.pop(0))
    context = command.make_context(command.name, words)
    assert context.command is command


@pytest.mark.parametrize("line", shown("make"))
def test_documented_make_targets_exist(line: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    assert len(targets) > 0


def test_docs_contain_commands() -> None:
    assert len(shown("napari-melanoma")) >= 8
    assert {"make demo", "make test"} <= set(shown("make"))
