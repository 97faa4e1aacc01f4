"""The recipes of the papers, for the lists of recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import overlay_recipe_values
from napari_melanoma.core.parsing import parse_toml
from napari_melanoma.extensions.papers.recipe_rows import RECIPES, SHARED, expand_rows
from napari_melanoma.runs.shipped_recipes import ListedPaper, ShippedRecipe, read_recipes


class PaperRecipes:
    """The recipes of the papers, by the protocol ``RecipeCollection``."""

    def list_recipes(self) -> Iterator[ShippedRecipe]:
        """Read the recipes that take the values of a row and change some."""
        for recipe in read_recipes(RECIPES):
            own = dict(recipe.values)
            yield replace(recipe, values=overlay_recipe_values(_read_row_values(own.pop("row")), own))

    def list_papers(self) -> Iterator[ListedPaper]:
        """Read the papers and the names of their rows."""
        from napari_melanoma.extensions.papers.papers import papers, read_paper

        for paper in map(read_paper, papers()):
            command = f"reproduce {paper.name}"
            yield ListedPaper(paper.name, paper.file.title, paper.file.reference, command, paper.named)

    def describe_incomplete(self, path: Path) -> str:
        """Describe the file of the rows of a table, or the values that all rows of a paper share."""
        from napari_melanoma.extensions.papers.papers import paper_of_recipe

        paper, rows = paper_of_recipe(path) or ("", ())
        content = f"{len(rows)} rows" if rows else "the common values of all rows"
        command = f"napari-melanoma reproduce {paper}{f' --rows {rows[0]}' if rows else ''}"
        return f"{content} of {paper}: {command}" if paper else ""


def _read_row_values(row: str) -> dict[str, Any]:
    """Read the values of a row such as ``P1/a-only-resnet50``, which ``reproduce`` trains with the full budget.

    ``read_paper``, which takes a second, has the same values.
    """
    paper, _, name = row.partition("/")
    files = {item.name: parse_toml(item.read_bytes(), item.name) for item in (RECIPES / paper).iterdir()}
    shared = files.pop(SHARED)
    values = next(rows[name] for rows in map(expand_rows, files.values()) if name in rows)
    kind_values = shared.get("of", {}).get(values.get("kind", "segmentation"), {})
    return reduce(overlay_recipe_values, (table.get("recipe", {}) for table in (shared, kind_values, values)))
