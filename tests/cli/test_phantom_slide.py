"""``phantom slide`` and ``phantom lesion --growth``: options are applied, impossible images are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.phantoms.lesion import phantom
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig


@pytest.mark.slow
def test_slides_are_written_with_truth_and_outlines(run, tmp_path: Path) -> None:
    words = (
        "phantom slide --out out --size 1024 --mpp 1 --seed 7 --count 2 --breslow-mm 0.3 --intact --necrosis 0.2 "
        "--look slate --json"
    )
    result = run(*words.split())
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    slides = [Path(event["image"]).name for event in events if event["event"] == "phantom"]
    assert slides == ["slide_0007.tif", "slide_0008.tif"]
    known = json.loads((tmp_path / "out" / "slide_0008.truth.json").read_text("utf-8"))
    assert (known["breslow_mm"], known["ulceration"], known["config"]["seed"]) == (0.3, False, 8)
    assert known["sections"][0]["lesions"][0]["necrosis"]["share"] > 0.1
    assert json.loads((tmp_path / "out" / "slide_0008.geojson").read_text("utf-8"))["features"]


def test_options_take_precedence_over_the_file(run, tmp_path: Path) -> None:
    base = {"size": (512, 512), "sections": 0, "look": "slate", "artefacts": {"pens": 2}}
    write_toml(tmp_path / "base.toml", SlidePhantomConfig.parse(base, "a test"))
    result = run("phantom", "slide", "--out", "out", "--config", "base.toml", "--look", "dune")
    assert result.exit_code == 0, result.output
    known = json.loads((tmp_path / "out" / "slide_0000.truth.json").read_text("utf-8"))
    assert (known["look"], known["size"], len(known["pens"])) == ("dune", [512, 512], 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--size 1024 --breslow-mm 4", "does not fit"),
        ("--look unheard-of", "harbour"),
        ("--size 99", "expected a number of at least 256"),
        ("--config missing.toml", "Name an existing TOML file"),
    ],
)
def test_impossible_slides_are_reported(run, words: str, expected: str) -> None:
    result = run("phantom", "slide", "--out", "out", *words.split())
    assert result.exit_code in (1, 2)
    assert expected in result.stderr


def test_too_small_slides_are_reported_before_anything_is_written(run, tmp_path: Path) -> None:
    result = run("phantom", "slide", "--out", "out", "--size", "1024", "--count", "3")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "slide of seed 0 is too small" in message
    assert "choose a larger size" in message
    assert "Nothing was written." in message
    assert not (tmp_path / "out").exists()


def test_growth_to_an_impossible_size_is_reported_before_anything_is_written(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["phantom", "lesion", "--out", "out", "--count", "2", "--size", "64", "64", "--growth", "0.2"]
    with monkeypatch.context() as patch:
        grow = phantom.grow_lesion
        patch.setattr(phantom, "grow_lesion", lambda config, share: grow(config, 999 if config.seed else share))
        refused = run(*words)
    assert refused.exit_code == 2, refused.output
    assert "--growth 0.2 is too large for the lesion of seed 1" in " ".join(refused.output.split())
    assert not (tmp_path / "out").exists()
    drawn = run(*words)
    assert drawn.exit_code == 0, drawn.output
    assert "4 phantoms in out" in drawn.stdout
    assert len(list((tmp_path / "out").glob("*_grown.png"))) == 2
