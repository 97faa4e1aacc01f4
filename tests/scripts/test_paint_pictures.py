"""The tutorial on a first tissue classifier: its commands, its strokes, and the script of its film strip."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import paint_pictures
from paint_pictures import CORRECTIONS, FIRST, MORE, OTHER, PaintedLine

from napari_melanoma.cli import app
from napari_melanoma.slides.tissue_classifier.strokes import Stroke, write_strokes

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "tutorials" / "first-tissue-classifier.md"
RADIUS = 40.0  # pixels of the slide: the default brush in a view of the whole slide


def shown(verb: str) -> list[str]:
    """Return the arguments of a command line that the tutorial shows."""
    (line,) = re.findall(rf"^ *napari-melanoma ({verb} .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(line)


def make_strokes(lines: tuple[PaintedLine, ...]) -> list[Stroke]:
    return [
        Stroke(f"{number}", line.class_name, "brush", line.points, RADIUS, "A", "2026-01-01T10:00:00+00:00")
        for number, line in enumerate(lines)
    ]


def test_frames_are_put_into_rows_of_equal_height() -> None:
    strip = paint_pictures.compose([Image.new("RGB", (1280, 960), "gray")] * 5)
    assert strip.size == (1288, 3 * 488 - 8)


def test_the_slides_are_those_of_the_command() -> None:
    values = dict(zip(shown("phantom slide")[2::2], shown("phantom slide")[3::2], strict=True))
    numbers = (int(values[name]) for name in ("--count", "--size", "--seed"))
    assert tuple(numbers) == (paint_pictures.COUNT, paint_pictures.SIDE, paint_pictures.SEED)


@pytest.mark.slow
def test_the_commands_and_strokes_of_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    def run(*arguments: str) -> None:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output

    monkeypatch.chdir(tmp_path)
    run(*shown("phantom slide"))
    painted = [(*FIRST, *MORE, *CORRECTIONS), OTHER]
    for number, lines in enumerate(painted, start=1):
        write_strokes(Path(f"{number}.geojson"), make_strokes(lines))
    slides = [f"tissue/slide_{number:04}.tif" for number in (1, 2, 3)]
    run("tissue", "fit", *slides[:2], "--strokes", "1.geojson", "--strokes", "2.geojson", "--out", "model")
    line = [word if word != "tissue" or index == 0 else "model" for index, word in enumerate(shown("tissue apply"))]
    run(*line)
    for slide in slides:
        areas = json.loads(Path("results", Path(slide).stem, "result.json").read_text(encoding="utf-8"))["areas"]
        assert areas["Dermis"]["mm2"] > max(areas["Tumor"]["mm2"], areas["Epidermis"]["mm2"]) > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Xvfb")
def test_the_film_strip_is_made(tmp_path: Path) -> None:
    script = [sys.executable, "scripts/screenshots.py", "--only", "paint", "--out", str(tmp_path)]
    subprocess.run(["scripts/with-display.sh", *script], cwd=REPOSITORY, check=True, timeout=1500)
    for name, width in (("paint-film.webp", 1288), ("paint.webp", paint_pictures.SIZE[0])):
        with Image.open(tmp_path / name) as picture:
            assert picture.width == width
