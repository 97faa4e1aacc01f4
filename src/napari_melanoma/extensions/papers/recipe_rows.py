"""The files of recipes: a paper has a folder with values that all share, and files of rows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from napari_melanoma.core.config import overlay_recipe_values

RECIPES = resources.files("napari_melanoma.extensions.papers") / "recipes"
SHARED = "paper.toml"  # file of the values that all rows of a paper share


def expand_rows(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the values of each row of a file, by its name.

    ``rows`` has what a row does not share with the other rows of the file. A row with ``base`` changes the values of an
    earlier row, whose published results it does not take over. Rows are numbered from ``order``.
    """
    shared = {name: value for name, value in table.items() if name != "rows"}
    rows: dict[str, dict[str, Any]] = {}
    for number, (name, own) in enumerate(table["rows"].items(), shared.get("order", 0)):
        values = {**rows[own["base"]]} if "base" in own else {**shared}
        for key in ("paper", "parameters"):
            values.pop(key, None)
        for key, value in own.items():
            is_recipe = key in ("recipe", "small") and key in values
            values[key] = overlay_recipe_values(values[key], value) if is_recipe else value
        rows[name] = {key: value for key, value in values.items() if key != "base"} | {"order": number}
    return rows
