"""Figures are not laid out here: how they look is tested in tests/figures."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def figures(quick_figures: None) -> None:
    """Skip the layout of figures."""
