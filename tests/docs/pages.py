"""What the pages of the documentation show: code blocks in their order, command lines, and code within sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SHELL = ("sh", "bash")
PROGRAM = "napari-melanoma"


@dataclass(frozen=True)
class Block:
    """A fenced block; ``text`` is without the indentation of the fence."""

    language: str
    text: str

    @property
    def is_script(self) -> bool:
        """A whole file, rather than lines to type."""
        return self.text.startswith("#!")


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], re.sub(f"^{m['indent']}", "", m["text"], flags=re.MULTILINE)) for m in found]


def command_lines(block: Block) -> list[str]:
    """The lines of a shell block; a line that ends with a backslash continues."""
    lines = (line.strip() for line in block.text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def all_command_lines() -> list[str]:
    """The different command lines of all shell blocks, also those within scripts."""
    shown = (block for page in PAGES for block in blocks(page) if block.language in SHELL)
    return sorted({line for block in shown for line in command_lines(block)})


def code_in_sentences(page: Path) -> list[str]:
    """Code between single backticks, in sentences and tables."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.replace("\\|", "|").split()) for code in CODE.findall(text)]
