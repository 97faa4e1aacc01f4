"""The folder of a case: atomic writing, locking, moved files and invalid content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_correction, set_paths, set_patient
from napari_melanoma.case.store import (
    CaseStore,
    find_missing_images,
    locate_images,
    read_correction,
    write_correction,
)
from napari_melanoma.core.errors import CaseChanged, ConfigError, InputError, MelanomaError, SaveError

MASK = np.eye(4, dtype=bool)


def photograph(path: Path, content: bytes) -> CaseImage:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return CaseImage(id="", path=path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case with an image inside its folder and one next to it."""
    folder = tmp_path / "work" / "case"
    inside = photograph(folder / "images" / "a.jpg", b"inside")
    outside = photograph(tmp_path / "work" / "photos" / "b.jpg", b"outside")
    with CaseStore.create(folder, add_images(add_lesion(Case()), [inside, outside], "L1")):
        return folder


def stored(folder: Path) -> dict:
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))


def rewrite(folder: Path, **values: object) -> None:
    (folder / "case.json").write_text(json.dumps({**stored(folder), **values}), encoding="utf-8")


def test_a_saved_case_is_read_unchanged(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        case = set_patient(store.case, age=54)
        store.save(case)
    with CaseStore.open(folder / "case.json") as again:
        assert (again.case, again.read_only, again.missing) == (case, "", {})
    assert sorted(path.name for path in folder.iterdir() if path.name != ".case.lock") == ["case.json", "images"]


def test_paths_in_and_next_to_the_case_are_relative(folder: Path, tmp_path: Path) -> None:
    paths = [image["path"] for image in stored(folder)["lesions"][0]["images"]]
    assert paths == ["images/a.jpg", "../photos/b.jpg"]
    with CaseStore.open(folder) as store:
        store.save(add_images(store.case, [photograph(tmp_path / "elsewhere" / "c.jpg", b"")]))
    assert stored(folder)["images"][0]["path"] == str(tmp_path / "elsewhere" / "c.jpg")


def test_an_unchanged_case_is_not_written_again(folder: Path) -> None:
    before = (folder / "case.json").stat().st_mtime_ns
    with CaseStore.open(folder) as store:
        store.save(store.case)
    assert (folder / "case.json").stat().st_mtime_ns == before


def test_images_next_to_a_case_move_with_it_and_others_are_located(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder.parent, tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "case"
    with CaseStore.open(folder) as store:
        images = [image.path for image in store.case.find_lesion("L1").images]
        assert images == [folder / "images" / "a.jpg", folder.parent / "photos" / "b.jpg"]
        assert store.missing == {}
    folder = Path(shutil.move(folder, tmp_path / "alone"))
    with CaseStore.open(folder) as store:
        assert store.missing == {"I2": f"b.jpg was not found at {tmp_path / 'photos' / 'b.jpg'}."}
        assert locate_images(store.case, tmp_path / "alone") == {}
        located = locate_images(store.case, tmp_path)
        assert located == {"I2": tmp_path / "elsewhere" / "photos" / "b.jpg"}
        assert find_missing_images(set_paths(store.case, located)) == {}


PLACES = [
    ("the end of the path", ["left/1/a.jpg", "right/1/a.jpg", "a.jpg"], "left/1/a.jpg"),
    ("the longest end", ["1/a.jpg", "a.jpg"], "1/a.jpg"),
    ("the only one of its name", ["new/b/a.jpg", "new/c.jpg"], "new/b/a.jpg"),
    ("two of one name", ["new/a.jpg", "other/a.jpg"], None),
    ("two of one name, one in the folder itself", ["a.jpg", "other/a.jpg"], None),
    ("none", ["b.jpg"], None),
]


@pytest.mark.parametrize("windows", [False, True], ids=["posix", "windows"])
@pytest.mark.parametrize(("files", "expected"), [place[1:] for place in PLACES], ids=[place[0] for place in PLACES])
def test_an_image_is_located_by_the_end_of_its_path_or_its_name(
    files: list[str], expected: str | None, windows: bool, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = Path("D:\\photos\\left\\1\\a.jpg" if windows else "/gone/photos/left/1/a.jpg")
    case = add_images(Case(), [CaseImage(id="", path=path)])
    assert locate_images(case, tmp_path) == ({} if expected is None else {"I1": tmp_path / expected})


def test_a_file_is_located_for_one_image_only(tmp_path: Path) -> None:
    """Others of the same name, such as of another lesion, stay missing."""
    file = tmp_path / "new" / "left" / "a.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    images = [CaseImage(id="", path=Path(f"/gone/{side}/a.jpg")) for side in ("left", "right")]
    case = add_images(Case(), images)
    assert locate_images(case, tmp_path / "new") == locate_images(case, file.parent) == {"I1": file}
    file.parent.rename(tmp_path / "new" / "other")
    assert locate_images(case, tmp_path / "new") == {}, "it may be either"
    (tmp_path / "new" / "other").rename(file.parent)
    assert locate_images(add_images(case, [CaseImage(id="", path=file)]), tmp_path / "new") == {}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
def test_a_name_that_is_not_utf_8_is_kept(folder: Path) -> None:
    image = photograph(folder / os.fsdecode(b"R\xfccken.jpg"), b"latin")
    with CaseStore.open(folder) as store:
        case = add_images(store.case, [image])
        store.save(case)
    with CaseStore.open(folder) as again:
        assert (again.case, again.missing) == (case, {})


def test_a_second_window_is_read_only_and_names_the_owner(folder: Path) -> None:
    with CaseStore.open(folder) as first, CaseStore.open(folder) as second:
        assert "another window of yours" in second.read_only
        with pytest.raises(SaveError, match="has the case open"):
            second.save(Case())
        first.save(set_patient(first.case, age=2))
    with CaseStore.open(folder) as third:
        assert (third.read_only, third.case.patient.age) == ("", 2)


def test_a_case_that_a_thread_opened_is_closed_by_another(folder: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        store = thread.submit(CaseStore.open, folder).result()
    store.close()
    with CaseStore.open(folder) as again:
        assert again.read_only == ""


def test_the_lock_of_a_dead_process_is_released(folder: Path) -> None:
    code = (
        "import sys, pathlib; from napari_melanoma.case.store import CaseStore; "
        "held = CaseStore.open(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with CaseStore.open(folder) as store:
            assert "since" in store.read_only
            assert "another window of yours" not in store.read_only
        other.kill()
    with CaseStore.open(folder) as store:
        assert store.read_only == ""


def test_changes_by_other_programs_are_detected_before_saving(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        assert store.describe_outside_change() == ""
        rewrite(folder, created="2026-01-01")
        assert store.describe_outside_change() != ""
        with pytest.raises(CaseChanged, match="changed by another program"):
            store.save(set_patient(store.case, age=3))
        assert stored(folder)["created"] == "2026-01-01"
        store.save(set_patient(store.case, age=3), overwrite=True)
    assert stored(folder)["patient"]["age"] == 3


def test_a_folder_without_write_permission_is_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise SaveError(f"cannot write {path}: no permission to write there.")

    monkeypatch.setattr("napari_melanoma.case.store.hold_lock", refuse)
    with CaseStore.open(folder) as store:
        assert store.read_only.startswith("cannot write")  # messages state already that the case is read-only
        assert "no permission" in store.read_only
        assert len(store.case.lesions) == 1


def test_a_file_saved_by_an_editor_is_read(folder: Path) -> None:
    text = (folder / "case.json").read_text(encoding="utf-8")
    (folder / "case.json").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with CaseStore.open(folder) as store:
        store.save(set_patient(store.case, age=3))
    assert stored(folder)["patient"]["age"] == 3


def test_a_folder_that_was_moved_while_open_is_not_recreated(folder: Path, tmp_path: Path) -> None:
    with CaseStore.open(folder) as store:
        folder.rename(tmp_path / "moved")
        with pytest.raises(CaseChanged, match="moved or removed"):
            store.save(set_patient(store.case, age=3))
    assert not folder.exists()


def test_a_newer_format_is_rejected_and_unchanged(folder: Path) -> None:
    rewrite(folder, version="2.0", patients=[])
    before = (folder / "case.json").read_bytes()
    with pytest.raises(InputError, match=r"newer version .* 2\.0.* 1\.x"):
        CaseStore.open(folder)
    assert (folder / "case.json").read_bytes() == before


def test_keys_of_a_newer_minor_version_are_kept(folder: Path) -> None:
    lesion = stored(folder)["lesions"][0]
    lesion["images"][0]["depth_map"] = {"file": "d.png"}
    rewrite(folder, version="1.7", lesions=[{**lesion, "texture": 3}], visits=["2026"])
    with CaseStore.open(folder) as store:
        assert store.case.lesions[0].more == {"texture": 3}
        store.save(set_patient(store.case, age=3))
    values = stored(folder)
    assert (values["version"], values["visits"], values["lesions"][0]["texture"]) == ("1.7", ["2026"], 3)
    assert values["lesions"][0]["images"][0]["depth_map"] == {"file": "d.png"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", InputError, "damaged: it is not valid JSON"),
        ("[]", InputError, "is not a case"),
        ('{"lesions": []}', InputError, "is not a case"),
        ('{"version": "1.0", "patient": {"age": 430}}', ConfigError, "from 0 to 120"),
        ('{"version": "1.0", "lesions": 3}', ConfigError, "lesions"),
        ('{"version": "1.0", "images": [{"id": "I1", "path": 7}]}', ConfigError, "path"),
        ('{"version": "1.0", "images": [{"id": "../I1", "path": "a.jpg"}]}', ConfigError, "id"),
        ('{"version": "one"}', ConfigError, "version"),
    ],
)
def test_invalid_files_are_rejected(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    (tmp_path / "case.json").write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        CaseStore.open(tmp_path)
    assert not (tmp_path / ".case.owner.json").exists()


def test_a_folder_without_a_case_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no case\.json"):
        CaseStore.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_case_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(InputError, match="already contains a case"):
        CaseStore.create(folder)


def test_corrections_are_stored_and_removed_after_an_undo(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        first = write_correction(store, "I1", MASK, image_digest="d", model="m")
        second = write_correction(store, "I1", ~MASK)
        store.save(set_correction(store.case, "I1", second))
        store.save(set_correction(store.case, "I1", first))
    with CaseStore.open(folder) as again:
        kept = again.case.find_image("I1").correction
        assert (kept, kept.image_digest, kept.model) == (first, "d", "m")
        assert (read_correction(kept) == MASK).all()
    assert [path.name for path in (folder / "corrections").iterdir()] == [first.path.name]


def test_a_mask_that_is_referenced_again_is_not_removed(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        first = write_correction(store, "I1", MASK)
        store.save(set_correction(store.case, "I1", first))
        before = (folder / "case.json").read_bytes()
        store.save(set_correction(store.case, "I1", write_correction(store, "I1", ~MASK)))
        (folder / "case.json").write_bytes(before)  # put back from a backup, or by a program that synchronises folders
    with CaseStore.open(folder) as again:
        assert (read_correction(again.case.find_image("I1").correction) == MASK).all()


def test_a_case_that_cannot_be_read_again_stays_open(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        text = (folder / "case.json").read_text()
        (folder / "case.json").write_text("{")
        with pytest.raises(MelanomaError):
            store.open_again(folder)
        (folder / "case.json").write_text(text)
        assert store.read_only == ""
        case = set_patient(store.case, age=54)
        store.save(case)
        again = store.open_again(folder)
        assert (again.case, again.read_only, store.read_only) == (case, "", "the case was closed. Open it again.")
        with CaseStore.open(folder) as other:
            assert "has the case open" in other.read_only, "the lock was never released"
        again.close()
        with CaseStore.open(folder) as other:
            assert other.read_only == ""


def test_an_unsaved_mask_is_kept(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        drawn = write_correction(store, "I1", MASK)
        rewrite(folder, created="2026-01-01")
        with pytest.raises(CaseChanged):
            store.save(set_correction(store.case, "I1", drawn))
    assert drawn.path.is_file()


def test_a_mask_changed_by_another_program_is_rejected(folder: Path) -> None:
    with CaseStore.open(folder) as store:
        kept = write_correction(store, "I1", MASK)
        write_correction(store, "I2", ~MASK).path.replace(kept.path)
        with pytest.raises(InputError, match="another program changed it"):
            read_correction(kept)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("part", ["corrections", "results", "risk"])
def test_links_out_of_the_case_folder_are_rejected(part: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    CaseStore.create(tmp_path / "case").close()
    (tmp_path / "case" / part).symlink_to(elsewhere, target_is_directory=True)
    for read in (CaseStore.open, CaseStore.open_read_only):
        with pytest.raises(InputError, match=f"{part} is a link out of the case folder"):
            read(tmp_path / "case")


@pytest.mark.parametrize("kind", ["lesions", "images"])
def test_a_duplicate_id_is_rejected(kind: str, tmp_path: Path) -> None:
    part = {"lesions": {"id": "L1"}, "images": {"id": "I1", "path": "a.png"}}[kind]
    (tmp_path / "case.json").write_text(json.dumps({"version": "1.0", kind: [part, part]}))
    with pytest.raises(ConfigError, match=f"two {kind} have the id '.1'"):
        CaseStore.open_read_only(tmp_path)
