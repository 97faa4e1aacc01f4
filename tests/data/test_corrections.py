"""The corrections data set: complete, without duplicates, undoable, and readable for training."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError, SaveError
from napari_melanoma.core.paths import corrections_folder
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data import corrections as module
from napari_melanoma.data import corrections as split_choice
from napari_melanoma.data.corrections import COLUMNS, Correction, Corrections
from napari_melanoma.data.dataset import read_dataset, select_for_split, select_trainable
from napari_melanoma.data.dataset_table import SharedTable, TableFile, TableLayout, TableRecord
from napari_melanoma.data.diagnosis_labels import DRAWN, LABELS, DiagnosisLabel, PhotographLabels, read_diagnoses
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.training.data_selection import ColumnReader

SHAPE = (24, 32)
PERSONAL = {
    "reviewer": "A. Reader",
    "model": "lesion-small",
    "model_fingerprint": "f" * 64,
    "diagnosis": "nevus",
    "patient_id": "p1",
    "lesion_id": "l1",
    "modality": "dermoscopic",
}


def drawn(seed: int = 0, name: str | None = None, **values: object) -> Correction:
    """A correction of a photograph that no other seed gives."""
    rgb = np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    given = {"review": "corrected", "mask": square(4), "prediction": square(8), **values}
    return Correction(name=name or f"photo {seed}", rgb=rgb, **given)


def square(side: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:side, :side] = True
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "corrections"


@pytest.fixture
def corrections(folder: Path) -> Corrections:
    return Corrections(folder)


def content(folder: Path) -> dict[str, bytes]:
    """Every file that counts: not the lock, nor the history, which grows."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "history.jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_correction_is_a_row_with_its_files(corrections: Corrections, folder: Path) -> None:
    one = drawn(source=Path("private/Photo 0.JPG"), **PERSONAL)
    assert corrections.add(one) == "photo_0"
    (row,) = corrections.rows()
    assert list(row) == list(COLUMNS)
    assert row["reviewed_at"].endswith("+00:00")
    assert row == {
        **PERSONAL,
        "image_id": "photo_0",
        "path": "images/photo_0.png",
        "mask_path": "masks/photo_0.png",
        "prediction_path": "predictions/photo_0.png",
        "split": "train",
        "source": "Photo 0.JPG",
        "review": "corrected",
        "reviewed_at": row["reviewed_at"],
        "image_sha256": array_fingerprint(one.rgb),
        "damage": "",
    }
    with Image.open(folder / row["path"]) as image:
        assert np.array_equal(np.asarray(image), one.rgb)
        assert image.info == {}
    assert np.array_equal(read_mask(folder / row["mask_path"]), one.mask)
    assert np.array_equal(read_mask(folder / row["prediction_path"]), one.prediction)
    assert corrections.find_row(array_fingerprint(one.rgb)) == row
    assert corrections.find_row("0" * 64) is None


def test_training_reads_it_and_uses_reviewed_masks(corrections: Corrections, folder: Path) -> None:
    reviews = ("unreviewed", "accepted", "corrected", "rejected")
    for seed, review in enumerate(reviews):
        corrections.add(drawn(seed, review=review, patient_id=f"p{seed}"))
    samples = read_dataset(folder)
    assert [sample.review for sample in samples] == list(reviews)
    assert [sample.image_id for sample in select_trainable(samples)] == ["photo_1", "photo_2"]
    assert [sample.group for sample in select_for_split(samples)] == ["corrections/p1", "corrections/p2"]
    with pytest.raises(DataSetError, match=r"1 rows, splits train, 1 masks not reviewed or rejected"):
        select_for_split(samples[:1])


def test_the_same_pixels_are_one_row(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(diagnosis="nevus", patient_id="p1"))
    corrections.add(drawn(1))
    again = drawn(name="other name", mask=square(6), review="accepted", patient_id="", reviewer="B")
    assert corrections.add(again) == "photo_0"
    first, _ = corrections.rows()
    message = [first[column] for column in ("diagnosis", "patient_id", "review", "reviewer")]
    assert message == ["nevus", "", "accepted", "B"]
    assert np.array_equal(read_mask(folder / first["mask_path"]), square(6))
    assert len(list((folder / "images").iterdir())) == 2


def test_a_mask_that_did_not_change_is_not_written_again(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    corrections.add(drawn(diagnosis="melanoma"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before
    assert corrections.rows()[0]["diagnosis"] == "melanoma"


def test_undo_restores_exactly_and_across_sessions(folder: Path) -> None:
    steps = [
        lambda c: c.add(drawn(0, diagnosis="nevus")),
        lambda c: c.add(drawn(1)),
        lambda c: c.add(drawn(0, mask=square(10), prediction=square(2), diagnosis="melanoma")),
        lambda c: c.remove("photo_1"),
        lambda c: c.add(drawn(0, mask=square(11), review="rejected", prediction=None)),
        lambda c: c.add(drawn(2)),
    ]
    states = []
    for step in steps:
        step(Corrections(folder))
        states.append(content(folder))
    for expected, image_id in zip(states[-2::-1], ["photo_2", "photo_0", "photo_1", "photo_0", "photo_1"], strict=True):
        assert Corrections(folder).undo() == image_id
        assert content(folder) == expected
    assert Corrections(folder).undo() == "photo_0"
    assert [*content(folder)] == ["dataset.csv"]
    assert Corrections(folder).undo() is None
    assert Corrections(folder).add(drawn(0)) == "photo_0"


@pytest.mark.parametrize("refusals", [2, 1_000])
def test_undo_deletes_a_photograph_that_is_open_elsewhere_or_reports_it(
    corrections: Corrections, folder: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    corrections.add(drawn(0))
    photograph, remove, calls = folder / "images" / "photo_0.png", Path.unlink, []

    def refuse(path: Path, **options: bool) -> None:
        if path == photograph:
            calls.append(path)
            if len(calls) <= refusals:
                error = PermissionError(errno.EACCES, "in use")
                error.winerror = 32  # type: ignore[attr-defined, unused-ignore]
                raise error
        remove(path, **options)

    monkeypatch.setattr("napari_melanoma.core.files.IN_USE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(Path, "unlink", refuse)
    if refusals == 2:
        assert corrections.undo() == "photo_0"
    else:
        with pytest.raises(SaveError, match=r"the change of 'photo_0' was undone.*photo_0\.png"):
            corrections.undo()
    assert photograph.exists() == (refusals > 2)
    assert not corrections.rows()
    assert [path.name for path in folder.rglob("*.png")] == ["photo_0.png"] * (refusals > 2)


def test_undo_without_history(corrections: Corrections, folder: Path) -> None:
    assert corrections.undo() is None
    assert corrections.rows() == []
    assert corrections.remove("photo_0") is False
    assert content(folder) == {}


def test_undo_of_a_change_reverts_no_later_one(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(0))
    shown = corrections.find_last_change()
    corrections.add(drawn(1))  # by another window
    before = content(folder)
    assert corrections.undo(shown) is None
    assert content(folder) == before
    assert corrections.undo(corrections.find_last_change()) == "photo_1"
    assert corrections.undo(shown) == "photo_0"
    assert corrections.find_last_change() is None


def test_undo_keeps_later_manual_edits(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(0, diagnosis="nevus"))
    corrections.add(drawn(0, mask=square(10), diagnosis="melanoma"))
    table = folder / "dataset.csv"
    table.write_text(table.read_text("utf-8").replace("melanoma", "blue nevus"), "utf-8")
    corrections.undo()
    (row,) = corrections.rows()
    assert row["diagnosis"] == "blue nevus"
    assert np.array_equal(read_mask(folder / row["mask_path"]), square(4))


def test_undo_does_not_restore_manual_deletions(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(0))
    corrections.add(drawn(1))
    corrections.add(drawn(1, mask=square(9)))
    table = folder / "dataset.csv"
    table.write_text("".join(table.read_text("utf-8").splitlines(keepends=True)[:2]), "utf-8")
    assert corrections.undo() == "photo_0"
    assert corrections.rows() == []


def test_a_table_that_a_spreadsheet_saved_is_kept_as_it_is(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(0))
    (row,) = corrections.rows()
    columns = ["note", *sorted(COLUMNS, reverse=True), "age"]
    values = {**row, "note": 'says "clear; no"\r\nhair', "age": "61"}
    cells = ['"' + values.get(column, "").replace('"', '""') + '"' for column in columns]
    text = ";".join(columns) + "\r\n" + ";".join(cells) + ";surplus\r\n" + ";" * 17 + "\r\n"
    (folder / "dataset.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    corrections.add(drawn(1))
    written = (folder / "dataset.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf" + text.encode()[: text.rindex(";surplus") + 10])
    assert written.count(b"\r\n") == 4
    assert b"\n" not in written.replace(b"\r\n", b"")
    assert [sample.image_id for sample in read_dataset(folder)] == ["photo_0", "photo_1"]
    corrections.undo()
    corrections.add(drawn(0, diagnosis="nevus"))
    assert corrections.rows()[0]["note"] == values["note"]
    assert (corrections.rows()[0]["age"], corrections.rows()[0]["diagnosis"]) == ("61", "nevus")
    assert b"surplus" in (folder / "dataset.csv").read_bytes()


def test_a_table_of_another_origin_gets_the_columns(corrections: Corrections, folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    Image.fromarray(drawn(5).rgb).save(folder / "images/old.png")
    (folder / "dataset.csv").write_text("image_id,split\nold,train", encoding="utf-8")
    corrections.add(drawn(0, name="OLD"))
    text = (folder / "dataset.csv").read_text("utf-8").splitlines()
    assert text[0].startswith("image_id,split,path,mask_path")
    assert text[1] == "old,train" + "," * 15
    assert text[2].startswith("OLD-2,train,images/OLD-2.png")
    assert [sample.review for sample in read_dataset(folder)] == [None, "corrected"]


def test_a_table_that_cannot_be_read_is_not_overwritten(corrections: Corrections, folder: Path) -> None:
    folder.mkdir()
    (folder / "dataset.csv").write_bytes(b"PK\x03\x04 a workbook \xff")
    with pytest.raises(DataSetError, match="Expected a CSV table in UTF-8"):
        corrections.add(drawn())
    assert [*content(folder)] == ["dataset.csv"]


@pytest.mark.parametrize("where", ["images", "masks", "history.jsonl", "dataset.csv"])
def test_a_full_disk_loses_no_data(corrections: Corrections, folder: Path, where: str, monkeypatch) -> None:
    corrections.add(drawn(0))
    before = content(folder)
    replace_file, open_file = Path.replace, Path.open

    def replaced(self: Path, target: Path) -> Path:
        return _refused(target, where) or replace_file(self, target)

    def opened(self: Path, *arguments: object, **named: object) -> object:
        return ("ab+" in arguments and _refused(self, where)) or open_file(self, *arguments, **named)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "open", opened)
    for change in (drawn(1), drawn(0, mask=square(12), diagnosis="nevus")):
        if where == "images" and change.mask[11, 11]:
            continue  # its photograph is there already
        with pytest.raises(SaveError, match="the disk is full"):
            corrections.add(change)
        assert content(folder) == before
    monkeypatch.undo()
    assert corrections.add(drawn(1)) == "photo_1"
    assert corrections.undo() == "photo_1"
    assert content(folder) == before
    assert corrections.undo() == "photo_0"


def _refused(path: Path, where: str) -> None:
    if where in path.parts:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a folder that refuses writing")
def test_a_folder_without_permission(corrections: Corrections, folder: Path) -> None:
    corrections.add(drawn(0))
    folder.chmod(0o500)
    try:
        with pytest.raises(SaveError):
            Corrections(folder).add(drawn(1))
        assert len(Corrections(folder).rows()) == 1
    finally:
        folder.chmod(0o700)


def test_a_refusing_file_system_is_an_error(corrections: Corrections, folder: Path) -> None:
    folder.write_text("a file is in the way", encoding="utf-8")
    with pytest.raises(SaveError, match="cannot write"):
        corrections.add(drawn())


def test_a_table_that_is_open_elsewhere(corrections: Corrections, monkeypatch) -> None:
    def held(self: Path, target: Path) -> Path:
        if target.name == "dataset.csv":
            raise PermissionError(errno.EACCES, "in use")
        return replace_(self, target)

    replace_ = Path.replace
    kept = corrections.add(drawn(0))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", held)
        with pytest.raises(SaveError, match=r"open in another program, such as a spreadsheet.*nothing was changed"):
            corrections.add(drawn(1))
    # The message is true: no file was added, and the correction can be stored as soon as the table is free.
    assert [row["image_id"] for row in corrections.rows()] == [kept]
    assert len(list((corrections.folder / "images").iterdir())) == 1
    added = corrections.add(drawn(1))
    assert [row["image_id"] for row in corrections.rows()] == [kept, added]


def test_a_crash_between_files_and_table_leaves_a_usable_folder(folder: Path, monkeypatch) -> None:
    Corrections(folder).add(drawn(0))
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(module, "remove_on_error", lambda fresh: _Kept(fresh))
        patch.setattr(TableFile, "write", _killed)
        Corrections(folder).add(drawn(1))
    with (folder / "history.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"change": {"image_id": "cut o')
    assert len(list((folder / "images").iterdir())) == 2
    assert [sample.image_id for sample in read_dataset(folder)] == ["photo_0"]
    assert Corrections(folder).add(drawn(1)) == "photo_1"
    assert Corrections(folder).undo() == "photo_1"
    assert Corrections(folder).undo() == "photo_0"
    assert Corrections(folder).undo() is None


class _Kept(list):
    """Simulates a killed process, without cleanup."""

    def __enter__(self) -> list:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave what was written."""


def _killed(self: TableFile, path: Path) -> None:
    raise KeyboardInterrupt


ADD_MANY = """
import sys, numpy as np
from pathlib import Path
from napari_melanoma.data.corrections import Correction, Corrections
folder, start = Path(sys.argv[1]), int(sys.argv[2])
corrections = Corrections(folder)
for seed in range(start, start + 15):
    rgb = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    corrections.add(Correction("same name", rgb, np.ones((20, 20), bool), "accepted"))
"""


def test_two_windows_can_add_at_once(folder: Path) -> None:
    windows = [subprocess.Popen([sys.executable, "-c", ADD_MANY, str(folder), str(start)]) for start in (0, 10)]
    assert [window.wait(120) for window in windows] == [0, 0]
    rows = Corrections(folder).rows()
    assert len(rows) == len({row["image_sha256"] for row in rows}) == 25
    assert len(select_for_split(read_dataset(folder))) == 25
    taken_back = 0
    while Corrections(folder).undo():
        taken_back += 1
    assert 25 <= taken_back <= 30
    assert [*content(folder)] == ["dataset.csv"]


ADD_FOR_EVER = """
import sys, numpy as np
from pathlib import Path
from napari_melanoma.data.corrections import Correction, Corrections
corrections, mask = Corrections(Path(sys.argv[1])), np.ones((20, 20), bool)
for seed in range(10**6):
    rgb = np.random.default_rng(seed % 7).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    mask[seed % 20, seed % 19] ^= True
    corrections.add(Correction("name", rgb, mask, "corrected", prediction=~mask))
    print("added", flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_complete_folder_that_can_be_undone(folder: Path) -> None:
    for moment in range(3):
        command = [sys.executable, "-c", ADD_FOR_EVER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as window:
            window.stdout.readline()
            time.sleep(0.1 + 0.07 * moment)
            window.kill()
        rows = Corrections(folder).rows()
        assert len({row["image_id"] for row in rows}) == len(rows) > 0
        for sample in select_for_split(read_dataset(folder)):
            assert read_mask(sample.mask).shape == read_photograph(sample.image).rgb.shape[:2] == (20, 20)
        Corrections(folder).add(drawn(moment))
        assert Corrections(folder).undo() == f"photo_{moment}"
    while Corrections(folder).undo():
        assert all((folder / row["mask_path"]).is_file() for row in Corrections(folder).rows())
    assert Corrections(folder).rows() == []


def test_a_long_writer_is_named(corrections: Corrections, folder: Path, monkeypatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr("napari_melanoma.data.dataset_table.LOCK_TIMEOUT_S", 0.05)
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(SaveError, match="another window has been writing"):
        corrections.add(drawn())


def test_stopping_keeps_the_photographs_added_before(corrections: Corrections) -> None:
    run = RunContext()

    def until_stopped():
        yield drawn(0)
        yield drawn(1)
        run.cancel()
        yield drawn(2)

    with pytest.raises(Cancelled):
        corrections.add_all(until_stopped(), run=run)
    assert [row["image_id"] for row in corrections.rows()] == ["photo_0", "photo_1"]
    assert corrections.add_all(drawn(seed) for seed in range(45)) == [f"photo_{seed}" for seed in range(45)]
    assert len(corrections.rows()) == 45


def test_others_can_write_while_photographs_are_read(
    corrections: Corrections, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.data.dataset_table.LOCK_TIMEOUT_S", 0.05)

    def reads_slowly():
        for seed in range(3):
            yield drawn(seed)
            Corrections(folder).add(drawn(10 + seed))  # another window

    added = corrections.add_all(reads_slowly())
    assert added == ["photo_0", "photo_1", "photo_2"]
    assert len(corrections.rows()) == 6


def test_the_number_of_table_writes_is_bounded(corrections: Corrections, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    save = SharedTable.save
    monkeypatch.setattr(
        SharedTable, "save", lambda self, table: (written.append(len(table.records)), save(self, table))
    )
    corrections.add_all(drawn(seed) for seed in range(170))
    assert written == [20, 40, 80, 160, 170]


def test_files_that_were_not_moved_are_removed(
    corrections: Corrections, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrections.add(drawn(0))
    before = sorted(folder.rglob("*"))
    corrections.add(drawn(0))  # it is there with the same mask
    assert sorted(folder.rglob("*")) == before
    monkeypatch.setattr(SharedTable, "save", raise_full)
    with pytest.raises(SaveError):
        corrections.add(drawn(1))
    assert sorted(folder.rglob("*.png")) == [path for path in before if path.suffix == ".png"]


def raise_full(table: SharedTable, content: TableFile) -> None:
    raise SaveError("the disk is full")


def test_adding_to_a_long_table_does_not_read_it_again(
    corrections: Corrections, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TableFile.empty(COLUMNS)
    rows = [
        [
            f"i{n}",
            f"images/i{n}.png",
            f"masks/i{n}.png",
            *[""] * 6,
            "corrected",
            "R",
            "",
            "m",
            "f" * 64,
            "",
            f"{n:064x}",
        ]
        for n in range(1_000)
    ]
    replace(table, records=tuple(TableRecord(",".join(cells), cells) for cells in rows)).write(folder / "dataset.csv")
    requested: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: requested.update([name]) or real(*given))

    for owner, name in (
        (TableFile, "read"),
        (TableFile, "write"),
        (TableLayout, "format_line"),
        (split_choice, "get_group_id"),
    ):
        counted(owner, name)
    costs = []
    for seed in range(4):
        requested.clear()
        corrections.add(drawn(seed))
        costs.append(dict(requested))
    assert [cost.get("read", 0) for cost in costs] == [1, 0, 0, 0]  # what it wrote itself it knows
    assert {cost["write"] for cost in costs} == {1}
    assert max(cost["format_line"] for cost in costs) <= 2  # the others stay as the text that they are
    assert max(cost["get_group_id"] for cost in costs) <= 1_000 + 10
    assert len(corrections.rows()) == 1_004


FAULTS = [
    ({"mask": np.zeros((3, 3), bool)}, "the mask of 'photo 0' is"),
    ({"prediction": np.zeros((3, 3), bool)}, "the prediction of 'photo 0' is"),
    ({"review": "maybe"}, "'maybe' is not a review state: expected unreviewed, accepted, corrected, rejected"),
]


@pytest.mark.parametrize(("values", "message"), FAULTS, ids=["mask", "prediction", "review"])
def test_invalid_corrections_are_refused(values: dict, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        drawn(**values)


def test_a_photograph_without_colors_is_refused() -> None:
    with pytest.raises(DataSetError, match=r"expected uint8 \(row, column, 3\)"):
        Correction("grey", np.zeros(SHAPE, np.uint8), square(3), "accepted")


def test_the_default_folder_is_the_users(user_folders: Path) -> None:
    assert user_folders in corrections_folder().parents
    assert Corrections().folder == corrections_folder()


def test_a_diagnosis_entered_in_the_table_counts_instead_of_other_labels() -> None:
    label = DiagnosisLabel("melanoma", "A. Reader", "2026-01-01T00:00:00Z")
    row = {"diagnosis": "nevus", "reviewer": "B. Reader", "reviewed_at": "later", LABELS: json.dumps([asdict(label)])}
    assert read_diagnoses({**row, "diagnosis": "melanoma"}) == [label]
    assert read_diagnoses(row) == [DiagnosisLabel("nevus", "B. Reader", "later")]


@pytest.mark.parametrize("reader", ["", "  "])
def test_a_diagnosis_without_a_reader_is_not_stored(tmp_path: Path, reader: str) -> None:
    folder = tmp_path / "corrections"
    with pytest.raises(DataSetError, match="'mole' has no reader, and was not stored"):
        Corrections(folder).label(
            Correction("mole", np.zeros((*SHAPE, 3), np.uint8), None, "unreviewed"), DiagnosisLabel("nevus", reader)
        )
    assert not folder.exists()


def test_a_diagnosis_entered_for_disputed_labels_counts_instead_of_them() -> None:
    labels = [DiagnosisLabel(name, reader, "then") for name, reader in (("melanoma", "Ana"), ("nevus", "Ben"))]
    row = {"diagnosis": "nevus", "reviewer": "Eve", "reviewed_at": "later", LABELS: json.dumps([*map(asdict, labels)])}
    assert [(one.diagnosis, one.reader) for one in read_diagnoses(row)] == [("nevus", "Ben"), ("nevus", "Eve")]
    assert read_diagnoses({**row, "diagnosis": ""}) == labels
    assert DiagnosisLabel("nevus", "Cy").make_cells(row)["diagnosis"] == "nevus"
    assert DiagnosisLabel("melanoma", "Cy").make_cells(row)["diagnosis"] == ""


def test_a_photograph_stays_drawn_at_random_whatever_its_diagnosis_becomes() -> None:
    first = DiagnosisLabel("nevus", "Ana", "then", DRAWN).make_cells({})
    relabeled = DiagnosisLabel("melanoma", "Ana", "later").make_cells(first)
    entered = {**first, "diagnosis": "melanoma", "reviewer": "Ana", "reviewed_at": "later"}
    for row in (first, relabeled, entered, DiagnosisLabel("melanoma", "Ben").make_cells(relabeled)):
        assert PhotographLabels.of(row).was_drawn
    assert [(one.diagnosis, one.reader) for one in read_diagnoses(relabeled)] == [("melanoma", "Ana")]
    assert not PhotographLabels.of(DiagnosisLabel("nevus", "Ana").make_cells({})).was_drawn


def test_spellings_of_a_name_are_one_reader() -> None:
    first = DiagnosisLabel("nevus", "Ana Roy", "then", DRAWN).make_cells({})
    labels = PhotographLabels.of(first)
    assert labels.find_own("ana  roy ") == "nevus"
    assert (labels.is_closed("ana roy"), labels.is_closed("Ben")) == (True, False)
    relabeled = DiagnosisLabel("melanoma", "ana roy", "later").make_cells(first)
    assert read_diagnoses(relabeled) == [DiagnosisLabel("melanoma", "ana roy", "later", DRAWN)]
    assert relabeled["diagnosis"] == "melanoma"
    disputed = PhotographLabels.of(DiagnosisLabel("nevus", "Ben").make_cells(relabeled))
    assert disputed.describe("Ana Roy") == "melanoma ≠ Ben: nevus"
    two = [DiagnosisLabel("nevus", "Ana Roy", "then"), DiagnosisLabel("melanoma", "ana roy", "later")]
    earlier = PhotographLabels("", tuple(two))  # stored by an earlier version: the reader can settle it
    assert earlier.describe("Ana Roy") == "melanoma ≠ Ana Roy: nevus"
    assert earlier.describe("Ben") == "labeled by Ana Roy"
    entered = first | {"reviewer": "ANA ROY", "reviewed_at": "later"} | {"diagnosis": "melanoma"}
    assert [one.reader for one in read_diagnoses(entered)] == ["ANA ROY"]


FOLLOWING = {"target": "0", "melanoma": "0", "diagnosis_detail": "common nevus", "diagnosis_by": "histopathology"}


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        ("melanoma", {"target": "1", "melanoma": "1"}),
        ("basal cell carcinoma", {"target": "1", "melanoma": "0"}),
        ("no word", {}),
        ("", {}),
        ("nevus", FOLLOWING),
    ],
)
@pytest.mark.parametrize("way", ["reviewed", "labeled"])
def test_what_follows_from_a_diagnosis_changes_with_it(
    corrections: Corrections, way: str, diagnosis: str, expected: dict[str, str]
) -> None:
    corrections.add(drawn(diagnosis="nevus", reviewer="A", clinical=FOLLOWING))
    if way == "reviewed":
        corrections.add(drawn(diagnosis=diagnosis, reviewer="A"))
    else:
        corrections.label(drawn(), DiagnosisLabel(diagnosis, "A"))
    (row,) = corrections.rows()
    assert {name: row[name] for name in FOLLOWING} == {**dict.fromkeys(FOLLOWING, ""), **expected}
    assert ColumnReader({"melanoma"}).read(row)["melanoma"] == expected.get("melanoma", ""), "as a training reads it"
    if diagnosis != "nevus":
        corrections.undo()
        assert {name: corrections.rows()[0][name] for name in FOLLOWING} == FOLLOWING


def test_a_new_photograph_has_what_follows_from_its_diagnosis(corrections: Corrections) -> None:
    corrections.add(drawn(0, diagnosis="nevus", clinical=FOLLOWING))
    corrections.add(drawn(1, diagnosis="melanoma"))
    corrections.label(drawn(2), DiagnosisLabel("melanoma", "A"))
    assert [(row["target"], row["melanoma"]) for row in corrections.rows()] == [("0", "0"), ("1", "1"), ("1", "1")]
    corrections.add(drawn(1, diagnosis=None))
    assert corrections.rows()[1]["melanoma"] == "1", "the diagnosis was kept"
