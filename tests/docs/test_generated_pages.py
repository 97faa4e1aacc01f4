"""The hook of mkdocs for reference pages refuses options without a help, and every marker has a generator."""

from __future__ import annotations

import sys

import pytest
import typer
from pages import PAGES, REPOSITORY
from pydantic import Field

from napari_melanoma.core.config import Config

sys.path.append(str(REPOSITORY / "scripts"))
import generated_pages


class Described(Config):
    share: float = Field(0.5, ge=0, lt=1, description="a share")


class Undescribed(Described):
    size: int = 3


def test_an_option_without_help_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "| `share` | 0.5 | ≥ 0 and &#60; 1 | a share |" in generated_pages.describe_config(Described)
    with pytest.raises(ValueError, match="the key size has no help"):
        generated_pages.describe_config(Undescribed)
    app = typer.Typer()

    @app.command(help="Measure.")
    def measure(mpp: float = 1.0) -> None:
        pass

    @app.command(help="List.")
    def show() -> None:
        pass

    monkeypatch.setattr(generated_pages, "app", app)
    with pytest.raises(ValueError, match="measure: mpp has no help"):
        generated_pages.describe_commands()


def test_all_options_are_described() -> None:
    assert all(generate() for generate in generated_pages.GENERATORS.values())
    assert "sex, site ... |" in generated_pages.describe_commands(), "an ellipsis is no period"


def test_each_marker_has_a_generator() -> None:
    markers = [name for page in PAGES for name in generated_pages.MARKER.findall(page.read_text(encoding="utf-8"))]
    assert sorted(markers) == sorted(generated_pages.GENERATORS)
