"""Files whose names are not UTF-8: only they fail, with an escaped name, and the others are processed."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import write_json, write_text
from napari_melanoma.core.parsing import read_json
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.slides.reading.opening import open_slide

pytestmark = [
    pytest.mark.usefixtures("dark"),
    pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there"),
]
STRANGE = os.fsdecode(b"n\xe9vus.png")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    (folder / os.fsdecode(b"f\xe9lder")).mkdir(parents=True)
    for name in ("a.png", STRANGE, os.fsdecode(b"f\xe9lder/b.png")):
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / name)
    return folder


def test_only_the_photograph_with_such_a_name_fails(run, photographs: Path, tmp_path: Path) -> None:
    done = run("lesion", photographs, photographs / os.fsdecode(b"f\xe9lder"), "--out", tmp_path / "results")
    assert done.exit_code == 1, done.output
    assert r"n\xe9vus.png is not valid UTF-8" in done.output
    with (tmp_path / "results" / "results.csv").open(encoding="utf-8", newline="") as table:
        rows = {row["status"]: row for row in csv.DictReader(table)}
    assert rows["done"]["file"] == "a.png"
    assert "Rename the file or its folder" in rows["failed"]["error"]


def test_json_output_has_complete_lines(run, photographs: Path, tmp_path: Path) -> None:
    done = run("lesion", photographs, "--out", tmp_path / "results", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["failed"] >= 1


@pytest.mark.parametrize("read", [read_photograph, open_slide])
def test_such_a_file_is_rejected_before_it_is_read(read, photographs: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"n\\xe9vus\.png is not valid UTF-8"):
        read(photographs / STRANGE)


def test_such_a_name_can_be_written_and_read(tmp_path: Path) -> None:
    write_json(tmp_path / "some.json", {"file": STRANGE})
    assert read_json(tmp_path / "some.json") == {"file": STRANGE}
    write_text(tmp_path / "some.md", STRANGE)
    assert (tmp_path / "some.md").read_text(encoding="utf-8") == r"n\udce9vus.png"
