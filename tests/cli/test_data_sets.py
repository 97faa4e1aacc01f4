"""``data sources``, ``import``, ``merge``, ``split``, ``report``, ``duplicates``: output and exit codes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.data import dataset_report_page as workflow
from napari_melanoma.data.dataset_report import AucInterval, DomainShift
from napari_melanoma.io.results import read_mask, read_table, write_mask, write_rgb, write_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four pictures with masks; the last is a smaller copy of the first."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((64, 48)) for _ in range(3)]
    for name, picture in zip("abcd", [*pictures, pictures[0].resize((48, 36))], strict=True):
        picture.save(folder / f"{name}.png")
        write_mask(folder / f"{name}_mask.png", np.eye(picture.height, picture.width, dtype=bool))
    return folder


def test_a_folder_is_imported_split_reported_and_merged(run, folder: Path, tmp_path: Path, lines) -> None:
    result = run("data", "import", "folder", "photographs", "--no-patients", "--out", "one")
    assert result.exit_code == 0, result.output
    assert "4 images, 4 with a mask: data set in one; next: napari-melanoma data check one" in result.stdout
    assert "4 images, 4 with a mask, 4 for training" in run("data", "check", "one").stdout

    result = run("data", "split", "one", "--val", "0.34", "--json")
    *splits, summary = [line for line in lines(result.stdout) if line["event"] != "progress"]
    assert {line["split"]: line["groups"] for line in splits} == {"train": 1, "val": 1, "test": 1}
    assert (summary["changed"], summary["duplicates"], summary["exit_code"]) == (4, 1, 0)
    together = "4 images assigned to a new split; 1 pair of duplicate images kept together"
    assert summary["message"] == f"{together}: one; next: napari-melanoma data check one"

    result = run("data", "report", "one", "--out", "one.md")
    assert "4 images, 4 with a mask." in (tmp_path / "one.md").read_text()
    assert result.exit_code == 0

    run("data", "import", "folder", "photographs", "--no-patients", "--out", "two")
    result = run("data", "merge", "one", "two", "--out", "both", "--json")
    assert lines(result.stdout)[-1]["images"] == {"one": 4}
    assert lines(result.stdout)[-1]["message"].endswith("; next: napari-melanoma data check both")
    result = run("data", "duplicates", "both", "--out", "pairs.csv", "--json")
    assert result.exit_code == 0
    assert lines(result.stdout)[-1]["pairs"] == 1
    assert [(row["image_1"], row["image_2"]) for row in read_table(tmp_path / "pairs.csv")] == [("a", "d")]


def test_json_output_lists_the_shift_between_sources(
    run, tmp_path: Path, lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = DomainShift("red", "blue", (20, 20), {"table": AucInterval(0.9, 0.8, 0.95)}, (("age", 0.9),))
    found = SimpleNamespace(shifts=[shift], whole=SimpleNamespace(rows=40), sources={"red": 20, "blue": 20})
    monkeypatch.setattr(workflow, "make_data_report", lambda *_, **__: found)
    monkeypatch.setattr(workflow, "write_report", lambda report, out: out / "report.html")
    event, summary = lines(run("data", "report", "red", "blue", "--out", "page", "--json").stdout)
    assert (event["event"], event["first"], event["second"], event["auc"]["table"]["low"]) == (
        "shift",
        "red",
        "blue",
        0.8,
    )
    assert (summary["rows"], summary["out"]) == (40, "page")


def test_a_duplicate_in_two_splits_gives_exit_code_1(run, folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text("image_id,split\na,train\nd,val\n")
    run("data", "import", "folder", "photographs", "--no-patients", "--out", "one")
    result = run("data", "duplicates", "one")
    assert result.exit_code == 1
    assert "duplicate images: one/a (train) and one/d (val), similarity" in result.stderr
    assert "1 pair of duplicates among 4 images, 1 in two splits" in result.stdout
    checked = run("data", "check", "one")
    assert "d: shows the same picture as a, but is in another split (val and train)" in checked.stderr
    assert checked.exit_code == 1


@pytest.mark.parametrize("words", [(), ("--out", "pairs.csv")])
def test_without_duplicates_there_is_one_line(run, folder: Path, words: tuple[str, ...]) -> None:
    for name in ("d.png", "d_mask.png"):
        (folder / name).unlink()
    run("data", "import", "folder", "photographs", "--no-patients", "--out", "one")
    result = run("data", "duplicates", "one", *words)
    assert result.stdout.splitlines()[-1] == "no duplicates among 3 images"


def test_images_that_cannot_be_imported_are_listed(run, folder: Path, lines) -> None:
    (folder / "b.png").write_bytes(b"text")
    result = run("data", "import", "folder", "photographs", "--no-patients", "--out", "one", "--json")
    assert result.exit_code == 1
    failed = [
        (line["image"], "holds text" in line["error"]) for line in lines(result.stdout) if line["event"] == "failed"
    ]
    assert failed == [("b", True)]


def test_a_user_table_is_imported_by_a_mapping_and_merged(run, tmp_path: Path, lines) -> None:
    (tmp_path / "clinic.csv").write_text("Datei;Befund;Stelle\nISIC_0000001;MM;Knie\nISIC_0000002;NV;Hallux x\n")
    (tmp_path / "clinic.toml").write_text(
        '[columns]\nDatei = "image_id"\nBefund = "diagnosis"\nStelle = "site"\n[words.diagnosis]\nMM = "melanoma"\n'
    )
    result = run("data", "import", "table", "clinic.csv", "--map", "clinic.toml", "--out", "clinic", "--no-patients")
    assert result.exit_code == 0, result.output
    assert "2 rows, no images: data set in clinic" in result.stdout
    assert "note: site: 1 cell is not understood" in result.stderr
    run("data", "import", "table", "clinic.csv", "--map", "clinic.toml", "--out", "again", "--no-patients")
    result = run("data", "merge", "clinic", "again", "--out", "both", "--json")
    last = lines(result.stdout)[-1]
    assert (last["rows"], last["images"], last["joined"], last["conflicts"]) == ({"clinic": 2}, {}, 2, 0)
    assert [row["diagnosis"] for row in read_table(tmp_path / "both/dataset.csv")] == ["melanoma", "nevus"]
    assert "2 rows have no image" in run("data", "check", "both").output


def test_the_sources_are_listed(run, lines) -> None:
    result = run("data", "sources", "--json")
    names = [line["name"] for line in lines(result.stdout) if line["event"] == "source"]
    assert names[:3] == ["coco", "cptac-cm", "decathlon"]
    assert "ISIC2018_Task1-2_Training_Input" in run("data", "sources").stdout


WRONG = [
    (("data", "import", "isic2018", "photographs", "--out", "x"), "does not contain ISIC 2018 (task 1). Expected:"),
    (("data", "import", "isic", "photographs", "--out", "x"), "there is no source named 'isic'"),
    (("data", "import", "table", "photographs", "--out", "x", "--map", "no.toml"), "cannot read no.toml"),
    (("data", "merge", "nowhere", "photographs", "--out", "x"), "nowhere is not a data set"),
    (("data", "split", "photographs", "--val", "2"), "--val is 2"),
    (("data", "report", "nowhere"), "nowhere is not a data set"),
    (("data", "report", "photographs", "--no-look"), "no effect without a page"),
    (("data", "report", "photographs", "--no-look", "--out", "x.md"), "no effect without a page"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_a_usage_error_writes_nothing(run, folder: Path, tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_data_set_is_exported_and_imported(run, lines, tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:30] = True
    rows = []
    for number, review in enumerate(("accepted", "rejected", "corrected")):
        write_rgb(tmp_path / f"set/images/x{number}.png", np.full((40, 60, 3), 40 * number, np.uint8))
        write_mask(tmp_path / f"set/masks/x{number}.png", mask)
        rows.append({"image_id": f"x{number}", "patient_id": f"p{number}", "review": review})
    write_table(tmp_path / "set/dataset.csv", rows)
    (tmp_path / "set/images/x2.png").write_bytes(b"no image")
    result = run("data", "export", "coco", "set", "--out", "coco", "--areas", "pixels", "--json")
    assert result.exit_code == 1
    events = lines(result.stdout)
    assert [line["image"] for line in events if line["event"] == "failed"] == ["x2"]
    assert [(line["what"], line["count"]) for line in events if line["event"] == "left_out"] == [("rejected images", 1)]
    assert (events[-1]["images"], events[-1]["classes"]) == (1, {"lesion": [1]})
    assert run("data", "import", "coco", "coco", "--out", "back").exit_code == 0
    assert (read_mask(tmp_path / "back/masks/x0.png") == mask).all()
    assert run("data", "export", "voc", "set", "--out", "voc").exit_code == 2
    assert "label-studio label-studio (tasks.json" in run("data", "export", "--help").stdout
