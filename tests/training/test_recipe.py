"""The document describes every key of a recipe, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from napari_melanoma.training.recipe import TrainRecipe


def keys(model: type[BaseModel], before: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found |= keys(inner, f"{before}{name}.") if nested else {before + name}
    return found


def test_the_document_has_every_key(repository: Path) -> None:
    text = (repository / "docs" / "training.md").read_text(encoding="utf-8")
    recipe = text[text.index("## The recipe") : text.index("## The run folder")]
    first_cells = [line.split("|")[1] for line in recipe.splitlines() if line.startswith("| `")]
    assert {key for cell in first_cells for key in re.findall(r"`([\w.]+)`", cell)} == keys(TrainRecipe)
