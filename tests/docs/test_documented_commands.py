"""Every command that the documents show, in blocks, sentences and tables, is one that the program understands."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import pytest
import typer
from page_readers import EXAMPLES_NOT_RUN, NOT_RUN, READERS
from pages import (
    PAGES,
    PROGRAM,
    REPOSITORY,
    SHELL,
    all_command_lines,
    blocks,
    code_in_sentences,
    command_lines,
    name_of,
)

from napari_melanoma.cli import app

# A command in a sentence may leave out what it is not about: `data check`, `train --folds`.
INCOMPLETE = {"MissingParameter", "BadOptionUsage"}
CLICK_ERROR = typer.BadParameter.__mro__[2]  # ClickException, of click or of typer's own copy
PLACEHOLDER = re.compile(r"\b[A-Z]+\b")
PROGRAMS = (PROGRAM, "python -m napari_melanoma")


def words_after_the_program(line: str) -> list[str] | None:
    """The words of a command line of the program, also at the end of another command: ``srun ... napari-melanoma``."""
    for program in PROGRAMS:
        before, found, after = line.partition(f"{program} ")
        if found and (not before or before.endswith(" ")) and not before.startswith(("pip ", "conda ", "docker build")):
            return shlex.split(after.rstrip(" &"), comments=True)
    return None


@cache
def find_command(*names: str) -> Any:
    """A group or a command; that of no names is the program."""
    from typer.main import get_command

    if not names:
        return get_command(app)
    found = find_command(*names[:-1]).get_command(None, names[-1])
    assert found is not None, f"no command {' '.join(names)}"
    return found


def parse(words: list[str]) -> None:
    count = 0
    while count < len(words) and hasattr(find_command(*words[:count]), "commands"):
        count += 1
    command = find_command(*words[:count])
    if count == len(words) and hasattr(command, "commands"):  # only named: `data`
        return
    context = command.make_context(command.name, words[count:])
    assert context.command is command


def mentioned() -> list[tuple[str, str]]:
    """Commands in sentences, with their page: those of the program, and those that start with one of its verbs."""
    verbs = set(find_command().list_commands(None))
    found: dict[str, str] = {}
    for page in PAGES:
        for code in code_in_sentences(page):
            first, _, rest = code.removeprefix(f"{PROGRAM} ").partition(" ")
            if (
                "--help" not in code
                and first != "VERB"
                and (code.startswith(f"{PROGRAM} ") or (first in verbs and rest))
            ):
                found.setdefault(code, name_of(page))
    return sorted((code, page) for code, page in found.items())


LINES = [line for line in all_command_lines() if words_after_the_program(line)]


@pytest.mark.parametrize("line", LINES)
def test_the_program_understands(line: str) -> None:
    words = words_after_the_program(line)
    assert words is not None
    parse(words)


def test_the_program_understands_commands_in_sentences_and_tables() -> None:
    problems, complete = [], 0
    for code, page in mentioned():
        try:
            parse(shlex.split(code.removeprefix(f"{PROGRAM} ")))
        except (CLICK_ERROR, AssertionError) as error:
            kind = type(error).__name__
            if kind not in INCOMPLETE and not (kind == "BadParameter" and PLACEHOLDER.search(code)):
                problems.append(f"{page}: {code}: {error}")
        else:
            complete += 1
    assert problems == []
    assert complete >= 20


@pytest.mark.parametrize("line", [line for line in all_command_lines() if line.startswith("make ")])
def test_documented_make_targets_exist(line: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    assert len(targets) > 0


def test_docs_contain_commands() -> None:
    assert len(LINES) >= 100
    assert {"make demo", "make test"} <= set(all_command_lines())


def test_only_shown_commands_are_left_out() -> None:
    lines = all_command_lines()
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, line) for line in lines)] == []
    examples = [block.text for page in PAGES for block in blocks(page) if block.language == "python"]
    assert [part for part in EXAMPLES_NOT_RUN if not any(part in text for text in examples)] == []


def test_readers_do_what_their_page_shows() -> None:
    pages = {name_of(page): page for page in PAGES}
    for name, reader in READERS.items():
        lines = {line for block in blocks(pages[name]) if block.language in SHELL for line in command_lines(block)}
        assert {*reader.before, *reader.exits} <= lines, name
