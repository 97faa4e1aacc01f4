"""The papers P1 to P4: their recipes, and the command ``reproduce``, which trains and evaluates their rows."""

from __future__ import annotations

from importlib import resources

RECIPES = resources.files(__name__) / "recipes"
