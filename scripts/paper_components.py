"""The components of the papers and how they are done here: ``paper_components.toml`` as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.parsing import read_toml_table
from napari_melanoma.extensions.papers.papers import read_paper

COMPONENTS = Path(__file__).with_suffix(".toml")


class Component(Config):
    """A component of a paper, how it is done here, and what gives the paper's own way."""

    component: str
    paper: str = Field(description="how the paper has it")
    difference: str = Field("as the paper", description="how it differs, and why")
    stated: bool = Field(True, description="whether the paper states how it does it")
    rows: tuple[str, ...] = Field((), description="rows that have it")
    values: dict[str, Any] = Field(default_factory=dict, description="dotted keys of their recipes to values")
    command: str = ""
    function: str = Field("", description="a function or class of Python that does it")
    section: str = Field("", description="a section of the Slide dock that does it")
    left_out: bool = Field(False, description="whether it is not done, or nothing that could be run")
    paper_rows: tuple[str, ...] = Field((), description="rows that have it in the paper's way")
    paper_values: dict[str, Any] = Field(default_factory=dict, description="values that give the paper's way")
    paper_command: str = ""

    @property
    def differs(self) -> bool:
        """Whether it is not as in the paper."""
        return "difference" in self.model_fields_set

    @property
    def paper_way(self) -> str:
        """What gives the paper's own way."""
        if not self.differs:
            return "the same"
        own = _format_place(self.paper_rows, self.paper_values, self.paper_command)
        return own or ("**no option**" if self.stated else "not stated")


def read_components() -> dict[str, list[Component]]:
    """Read the components of each paper."""
    return {
        paper: [Component.parse(entry, f"{COMPONENTS.name}, {paper}") for entry in entries]
        for paper, entries in read_toml_table(COMPONENTS).items()
    }


def component_table(components: Sequence[Component]) -> str:
    """Return the components as a Markdown table."""
    lines = [
        "| component | the paper | here | rows, keys and commands | the paper's own way |",
        "|---|---|---|---|---|",
    ]
    for one in components:
        cells = (
            one.component,
            one.paper,
            one.difference,
            "; ".join(filter(None, (_format_place(one.rows, one.values, one.command), _format_more(one)))),
            one.paper_way,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_more(one: Component) -> str:
    """Name the function, and the section of the Slide dock."""
    section = f"section *{one.section}* of the Slide dock" if one.section else ""
    return "; ".join(filter(None, (f"`{one.function}`" if one.function else "", section)))


def remarks(paper: str) -> str:
    """Return the remarks on a paper as a Markdown list."""
    return "\n".join(f"- {text}" for text in read_paper(paper).file.remarks)


def _format_place(rows: Sequence[str], values: dict[str, Any], command: str) -> str:
    """Name rows, keys with their values, and a command."""
    parts = [", ".join(f"`{row}`" for row in rows)]
    parts += [", ".join(f"`{key} = {_format_toml(value)}`" for key, value in values.items())]
    parts += [f"`{command}`" if command else ""]
    return "; ".join(part for part in parts if part)


def _format_toml(value: Any) -> str:  # noqa: ANN401 - any value of a recipe
    """Format a value as inline TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_format_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_format_toml, value)) + "]"
    return json.dumps(value)
