"""``reproduce`` reports what would run, what is missing and where to get it, and always writes its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.extensions.papers import run as workflow
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import PlannedRow, ReproductionPlan
from napari_melanoma.extensions.papers.recipe_rows import RECIPES
from napari_melanoma.extensions.papers.run import Reproduction

pytestmark = pytest.mark.usefixtures("user_folders")

PLANNED = PlannedRow(name="unet", steps=50, epochs=9, parameters=489_000, start="random initialization")
PLAN = ReproductionPlan(
    paper="P4",
    budget="small",
    data={"M": ("pad",)},
    rows=(PLANNED, PlannedRow(name="transfer-m")),
    left_out={"grid": "needs weights"},
    notices=("ph2 is left out.",),
)


def test_a_check_lists_rows_with_size_and_training(run, lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "check", lambda options, *, run: Reproduction(read_paper("P4"), PLAN))
    result = run("reproduce", "P4", "--budget", "small", "--check", "--json")
    assert result.exit_code == 0, result.output
    found = lines(result.stdout)
    assert [line["event"] for line in found] == ["notice", "row", "row", "start", "left out", "summary"]
    assert (found[1]["row"], found[1]["parameters"], found[1]["epochs"]) == ("unet", 489_000, 9)
    assert (found[3]["start"], found[3]["rows"]) == ("random initialization", ["unet"])
    text = run("reproduce", "P4", "--check").stdout
    assert "unet" in text
    assert "0.49M   9 epochs   50 steps each" in text
    assert "from random initialization: unet" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("P4", "--out", "p4"), "Get SMARTSKINS from"),
        (("P4",), "needs macroscopic photographs as M"),
        (("P9", "--out", "p9"), "known: P1, P2, P3, P4"),
        (("P4", "--budget", "tiny", "--out", "p4"), "budget"),
        (("P4", "--rows", "nothing", "--out", "p4"), "no row or grid 'nothing'"),
        (("P2", "--data", "HAM10000=nowhere", "--out", "p2"), "the folder nowhere does not exist"),
    ],
)
def test_usage_errors_are_reported(run, tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    result = run("reproduce", *words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert [path for path in tmp_path.iterdir() if path.name != "home"] == []


def test_the_last_line_counts_the_results(run, lines, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Reproduction(read_paper("P4"), PLAN)
    folders: list[Path] = []
    monkeypatch.setattr(workflow, "reproduce", lambda options, out, *, run: folders.append(out) or done)
    result = run("reproduce", "p4", "--json")
    assert folders == [Path("reproduced-P4")]
    last = lines(result.stdout)[-1]
    assert (last["rows"], last["exit_code"]) == (0, 1)
    assert last["message"].startswith("none of 2 rows of P4 evaluated; reasons in reprod")


def test_a_file_of_rows_is_rejected_as_recipe(run, tmp_path: Path) -> None:
    folder = RECIPES / "P4"
    for name, expected in (
        ("best", "7 rows of P4: napari-melanoma reproduce P4 --rows unet"),
        ("grids", "4 rows of P4: napari-melanoma reproduce P4 --rows grid-unets"),
        ("paper", "the common values of all rows of P4: napari-melanoma reproduce P4"),
    ):
        (tmp_path / f"{name}.toml").write_text((folder / f"{name}.toml").read_text(encoding="utf-8"), encoding="utf-8")
        result = run("train", "--config", str(tmp_path / f"{name}.toml"), "--out", "x")
        assert result.exit_code == 2
        assert expected in " ".join(result.stderr.split())


def test_the_list_of_recipes_names_the_rows_of_papers(run, lines) -> None:
    papers = {line["name"]: line["rows"] for line in lines(run("recipes", "list", "--json").stdout) if "rows" in line}
    assert "unetpp-refined" in papers["P2"]
    assert {"transfer-d-then-m", "grid-alpha"} <= set(papers["P4"])


def test_a_failed_row_gives_exit_code_1(run, lines, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Reproduction(read_paper("P4"), PLAN, [], {"unet": "no room"})
    monkeypatch.setattr(workflow, "reproduce", lambda options, out, *, run: done)
    result = run("reproduce", "P4", "--out", "p4", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["failed"] == 1
    assert [line["row"] for line in lines(result.stdout) if line["event"] == "failed"] == ["grid", "unet"]
