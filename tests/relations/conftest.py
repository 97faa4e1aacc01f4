"""Fixtures: a data set, analyzed slides and a painted model, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import world
from typer.testing import CliRunner

from napari_melanoma.cli import app


@pytest.fixture(autouse=True)
def _own_folders(user_folders: Path) -> None:
    """Tests see neither models nor settings of the user."""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command in a folder, ``at``, which must succeed; returns its output."""

    def run(*words: object, at: Path = tmp_path) -> str:
        at.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(at)
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, f"{words}: {result.output}"
        return result.stdout

    return run


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of twelve photographs, not to be changed."""
    return world.write_dataset(tmp_path_factory.mktemp("world") / "dataset")


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Three slides with strokes beside them, of which a and c are in the same places of different images."""
    folder = tmp_path_factory.mktemp("world") / "slides"
    paths = tuple(world.draw_slide(folder / f"{name}.tif", seed) for name, seed in (("a", 0), ("b", 3), ("c", 6)))
    for path, seed in zip(paths, (0, 3, 6), strict=True):
        world.write_strokes(path.with_suffix(".geojson"), seed)
    return paths


@pytest.fixture(scope="session")
def tissue_model(slides: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of tumor, dermis and background, fitted on the strokes of two of the slides."""
    out = tmp_path_factory.mktemp("models") / "tissue"
    words = ["tissue", "fit", *slides[:2], "--out", out, "--sources", "texture", "--kind", "logistic"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def analyzed(slides: tuple[Path, ...], tissue_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two of the slides, not to be changed."""
    out = tmp_path_factory.mktemp("world") / "results"
    words = ["slide", *slides[:2], "--out", out, "--model", tissue_model]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return out
