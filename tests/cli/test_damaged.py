"""A damaged photograph is rejected by default; if accepted, every output is marked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("dark")

MISSING = "rows could be decoded"


@pytest.fixture
def with_one_damaged(photographs: Path) -> Path:
    """The folder of photographs and a JPEG whose lower half is missing before a valid end marker."""
    Image.open(photographs / "p0.png").convert("RGB").save(photographs / "half.jpg", quality=90)
    whole = (photographs / "half.jpg").read_bytes()
    (photographs / "half.jpg").write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
    return photographs


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_only_the_damaged_photograph_fails(run, with_one_damaged: Path, tmp_path: Path) -> None:
    result = run("lesion", with_one_damaged, "--out", "out")
    assert result.exit_code == 1, result.output
    found = rows(tmp_path / "out")
    assert {name: row["status"] for name, row in found.items()} == {"half": "failed"} | dict.fromkeys(
        ("p0", "p1", "p2"), "done"
    )
    assert MISSING in found["half"]["error"]
    assert not (tmp_path / "out" / "half").exists()


def test_an_accepted_damaged_photograph_is_marked_in_every_output(run, with_one_damaged: Path, tmp_path: Path) -> None:
    result = run("lesion", with_one_damaged, "--out", "out", "--accept-damaged")
    assert result.exit_code == 0, result.output
    found = rows(tmp_path / "out")
    assert MISSING in found["half"]["damage"]
    assert "Damaged photograph" in found["half"]["warning"]
    assert found["p0"]["damage"] == ""
    stored = json.loads((tmp_path / "out" / "half" / "result.json").read_text(encoding="utf-8"))
    assert MISSING in stored["damage"]
    with Image.open(tmp_path / "out" / "half" / "overlay.png") as overlay:
        assert np.asarray(overlay)[0, 0].tolist() == [200, 0, 0]
    again = run("lesion", with_one_damaged, "--out", "again")
    assert again.exit_code == 1  # accepted for one command only
