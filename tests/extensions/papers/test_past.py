"""The folder of a reproduction that was written on 2026-11-25 is listed with the same figures and remarks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import reproduce
from napari_melanoma.extensions.papers.split import SplitSetup, part_in_fold, read_images, read_tables
from napari_melanoma.io.results import read_table

PAST = Path(__file__).parent / "past" / "2026-11-25.zip"
# The precision of that day had another interval, and was 0 without any positive prediction.
OTHER_INTERVAL = re.compile(r"(calibrated_)?PR(_low|_high)?")
# The mean of a measure that is none or all in every image had no interval on that day; it has the exact one.
ENDS = re.compile(r"_(low|high)$")
ROWS = {"P3": ("multi-modal",), "P4": ("unet", "transfer-m")}
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("paper", ROWS)
def test_a_past_reproduction_is_listed_as_it_was(
    paper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spots: Callable[..., Path]
) -> None:
    spots(tmp_path / "sets/dermofit", 24, 1)
    if paper == "P3":
        monkeypatch.setitem(vars(read_paper(paper).file), "folds", 3)
    with ZipFile(PAST) as archive:
        archive.extractall(tmp_path)
    out, folder = tmp_path / paper, (tmp_path / "sets").as_posix()
    plan = out / "reproduction.json"
    plan.write_text(plan.read_text(encoding="utf-8").replace("FOLDER", folder), encoding="utf-8")
    before, text = read_table(out / "tables.csv"), (out / "tables.md").read_text(encoding="utf-8")
    (out / "tables.csv").unlink()
    done = reproduce(ReproduceOptions(paper=paper, budget="small", rows=ROWS[paper]), out, run=RunContext())
    assert done.failed == {}
    after = read_table(out / "tables.csv")
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        different = {name for name in old if old[name] != new.get(name) and not OTHER_INTERVAL.fullmatch(name)}
        assert [name for name in different if not ENDS.search(name) or not is_bound(old[ENDS.sub("", name)])] == []
    assert any("not learned" in row["remark"] for row in after)
    stored, listed = (
        [line for line in each.splitlines() if line.startswith(("Claim of the paper", "S, ", "M, "))]
        for each in (text, (out / "tables.md").read_text(encoding="utf-8"))
    )
    assert stored == listed
    assert any("in 3 folds by patient" in line or "held out for testing" in line for line in listed)


def is_bound(percentage: str) -> bool:
    return percentage in ("0", "100")


def test_the_folds_of_a_past_reproduction_are_those_of_one_table(tmp_path: Path) -> None:
    with ZipFile(PAST) as archive:
        archive.extractall(tmp_path)
    cohort, setup = tmp_path / "sets/cohort", SplitSetup(read_paper("P3").file.roles, tmp_path / "P3", 3, "metastasis")
    read_images({"S": (cohort,)}, setup, cross_validated=True)
    before = {row["image_id"]: row for row in read_table(tmp_path / "P3/folds/fold-1/cohort/dataset.csv")}
    after = read_tables([tmp_path / "P3/folds/cohort"])
    assert {name: row["fold"] for name, row in before.items()} == {
        name: row["fold"] for (_, name), row in after.items()
    }
    for name, old in before.items():
        row = after["cohort", name]
        assert part_in_fold(row, 1) == old["split"]
        assert (tmp_path / "P3/folds/cohort" / row["path"]).resolve() == (
            tmp_path / "P3/folds/fold-1/cohort" / old["path"]
        ).resolve()
