"""``data import-masks`` and ``data check``: text and JSON output, and exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.io.results import write_mask


@pytest.fixture
def masks(tmp_path: Path, photographs: Path) -> Path:
    """Masks for two of the three photographs."""
    for name in ("p0", "p1"):
        write_mask(tmp_path / f"masks/{name}_mask.png", np.eye(80, 100, dtype=bool))
    return tmp_path / "masks"


IMPORT = ("data", "import-masks", "masks", "--images", "photographs", "--out", "set", "--no-patients")


def test_masks_are_imported_and_checked(run, masks: Path, lines) -> None:
    result = run(*IMPORT)
    assert result.exit_code == 0, result.output
    assert "2 masks imported, 1 photograph without a mask: data set in set" in result.stdout
    checked = run(*result.stdout.split("next: napari-melanoma ")[1].split())
    assert checked.exit_code == 0, checked.output
    assert "2 images, 2 with a mask, 2 for training, 2 groups" in checked.stdout
    assert "reviews: accepted 2" in checked.stdout
    assert checked.stdout.endswith("No faults in set.\n")
    data, summary = [
        line
        for line in lines(run("data", "check", "set", "--json").stdout)
        if line["event"] not in ("progress", "note")  # the discs are similar, which is noted
    ]
    assert (data["event"], data["usable"], data["reviews"]) == ("data", 2, {"accepted": 2})
    assert (summary["status"], summary["faults"]) == ("done", 0)


def test_masks_without_photograph_are_listed_and_give_exit_code_1(run, masks: Path, lines) -> None:
    write_mask(masks / "other.png", np.ones((80, 100), bool))
    result = run(*IMPORT, "--json")
    assert result.exit_code == 1
    events = lines(result.stdout)
    assert [(e["image"], e["error"]) for e in events if e["event"] == "failed"] == [
        ("masks/other.png", "no photograph of that name was found")
    ]
    assert (events[-1]["added"], events[-1]["failed"], events[-1]["exit_code"]) == (["p0", "p1"], 1, 1)
    assert "2 reviewed images kept" in run(*IMPORT).stdout


def test_an_import_without_a_match_names_no_data_set(run, masks: Path) -> None:
    for path in list(masks.iterdir()):
        path.rename(masks / f"other_{path.name}")
    result = run(*IMPORT)
    assert result.exit_code == 1
    assert "0 masks imported, 2 did not match" in result.stdout
    assert result.stdout.endswith("nothing was written\n")
    assert not Path("set").exists()


def test_a_faulty_data_set_gives_exit_code_1(run, masks: Path, tmp_path: Path) -> None:
    run(*IMPORT)
    write_mask(tmp_path / "set/masks/p0.png", np.ones((4, 4), bool))
    result = run("data", "check", "set")
    assert result.exit_code == 1
    assert "fault: p0: its mask has 4 x 4 pixels, the image 100 x 80" in result.stderr
    assert "1 fault found" in result.stdout


WRONG = [
    (("--format", "tiff"), "--format is tiff"),
    (("--review", "ok"), "--review is ok"),
    (("--class", "mole"), "'mole' is no class or value of the masks"),
    (("--images", "nowhere"), "nowhere does not exist"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_a_usage_error_writes_nothing(run, masks: Path, tmp_path: Path, words: tuple[str, str], expected: str) -> None:
    result = run(*IMPORT, *words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not (tmp_path / "set").exists()


def test_a_missing_data_set_is_a_usage_error(run) -> None:
    result = run("data", "check", "nowhere")
    assert result.exit_code == 2
    assert "nowhere is not a data set" in result.stderr
