"""Figures are drawn without layout; tests/figures tests their appearance."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def figures(quick_figures: None) -> None:
    """Skip the layout of figures."""
