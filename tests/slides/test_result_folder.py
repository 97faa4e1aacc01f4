"""Which folder a slide's results go to: its own, found again, never another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import (
    PREVIOUS,
    UNFINISHED,
    SlideFolderNames,
    back_up_result,
    discard_previous,
    open_fingerprint,
    record_slide,
    restore_previous,
    slide_folder,
)
from napari_melanoma.ui.slide.run_manager import _find_results


def slide(path: Path, content: bytes = b"pixels") -> Path:
    """A file in place of a slide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def own(path: Path) -> str:
    """The name that a slide has from its content."""
    return f"{path.stem}-{slide_fingerprint(path)[:8]}"


def test_the_first_one_has_the_stem_and_nothing_is_written(tmp_path: Path) -> None:
    path = slide(tmp_path / "in" / "x.ome.tif")
    assert slide_folder(tmp_path / "out", path) == tmp_path / "out" / "x.ome"
    assert slide_folder(tmp_path, path.parent) == tmp_path / "in"
    assert slide_folder(tmp_path, slide(tmp_path / "in" / "HE 12 .svs")) == tmp_path / "HE 12"  # for Windows
    assert slide_folder(tmp_path, slide(tmp_path / "in" / "HE 12...svs")).name == "HE 12"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in"]


def test_slides_with_equal_stems_are_distinguished_by_content(tmp_path: Path) -> None:
    first, second = slide(tmp_path / "a" / "x.svs", b"1"), slide(tmp_path / "b" / "X.ndpi", b"2")
    folders = SlideFolderNames(tmp_path / "out")
    placed = [folders.folder_for(path) for path in (first, second)]
    assert [folder.name for folder in placed] == ["x", own(second)]
    for path, folder in zip((first, second), placed, strict=True):
        record_slide(folder, path)
    assert [slide_folder(tmp_path / "out", path) for path in (second, first)] == placed[::-1]
    moved = second.rename(tmp_path / "X.ndpi")
    assert slide_folder(tmp_path / "out", moved) == placed[1]


def test_copies_in_one_run_do_not_share_a_folder(tmp_path: Path) -> None:
    paths = [slide(tmp_path / name / "x.svs") for name in "abc"]
    for _ in range(2):
        folders = SlideFolderNames(tmp_path / "out")
        placed = [folders.folder_for(path) for path in paths]
        assert [folder.name for folder in placed] == ["x", own(paths[0]), f"{own(paths[0])}-2"]
        for path, folder in zip(paths, placed, strict=True):
            record_slide(folder, path)


@pytest.mark.parametrize("whose", ["notes", "result", "photograph"])
def test_a_folder_that_shows_something_else_is_left_alone(whose: str, tmp_path: Path) -> None:
    path = slide(tmp_path / "x.svs")
    if whose == "notes":
        write_notes(tmp_path / "out" / "x", SlideNotes("of another"))
    else:
        write_json(tmp_path / "out" / "x" / "result.json", {"fingerprint": "of another"} if whose == "result" else {})
    assert slide_folder(tmp_path / "out", path).name == own(path)
    write_notes(tmp_path / "out" / "x", SlideNotes(slide_fingerprint(path)))
    assert slide_folder(tmp_path / "out", path).name == "x"


def test_a_missing_slide_keeps_its_row_with_a_message(tmp_path: Path) -> None:
    write_notes(tmp_path / "out" / "x", SlideNotes("of another"))
    assert slide_folder(tmp_path / "out", tmp_path / "x.svs").name == "x-unread"


@pytest.mark.parametrize("name", ["1.2.826.0.1.3680043.dcm", "1.2.826.0.1.3680043", "IM0001"])
def test_a_dicom_slide_has_one_folder_whether_it_or_a_file_of_it_is_opened(name: str, tmp_path: Path) -> None:
    path = slide(tmp_path / "CMU_dicom" / name, b"\0" * 128 + b"DICM")
    assert slide_folder(tmp_path / "out", path.parent) == tmp_path / "out" / "CMU_dicom"
    assert slide_folder(tmp_path / "out", path) == tmp_path / "out" / "CMU_dicom"
    plain = slide(tmp_path / "CMU_dicom" / "x.v1.2", b"no DICOM")
    assert slide_folder(tmp_path / "out", plain) == tmp_path / "out" / "x.v1"


def test_results_of_a_dicom_slide_are_found_by_the_dock_and_by_the_command_line(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "slides" / "CMU-1-Small-Region_dicom"
    if not folder.is_dir():
        pytest.skip("needs a DICOM slide")
    by_command = SlideFolderNames(tmp_path).folder_for(folder)
    record_slide(by_command, folder)
    with open_slide(folder) as opened:
        place = _find_results(tmp_path, opened.info, "identity", RunContext())
        assert opened.info.fingerprint == open_fingerprint(folder) == open_fingerprint(opened.info.path)
    assert place.folder == by_command == tmp_path / "CMU-1-Small-Region_dicom"
    assert place.view_folder == by_command / "view" / by_command.name
    assert SlideFolderNames(tmp_path).folder_for(folder) == by_command


@pytest.mark.parametrize("refused", ["shutil.rmtree", "napari_melanoma.slides.result_folder.move"])
def test_a_backup_that_cannot_be_removed_never_replaces_a_complete_result(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the backup is removed, or a program has a chunk of it open on Windows."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    def remove_part(folder: Path, **_: object) -> None:
        (folder / "result.json").unlink()  # before it was stopped

    for folder, content in ((tmp_path, "new"), (tmp_path / PREVIOUS, "old"), (tmp_path / UNFINISHED, "part")):
        (folder / "result.zarr").mkdir(parents=True)
        (folder / "result.zarr" / "0").write_text(content, encoding="utf-8")
        (folder / "result.json").write_text(content, encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(refused, remove_part if refused == "shutil.rmtree" else refuse)
        discard_previous(tmp_path)
    assert not restore_previous(tmp_path)
    assert (tmp_path / "result.zarr" / "0").read_text(encoding="utf-8") == "new"
    assert not [*tmp_path.glob(f"{PREVIOUS}*"), *tmp_path.glob(f"{UNFINISHED}*")]
    back_up_result(tmp_path)
    assert (tmp_path / PREVIOUS / "result.zarr" / "0").read_text(encoding="utf-8") == "new"


def test_a_backup_left_behind_is_replaced_by_that_of_the_current_result(tmp_path: Path) -> None:
    for folder, content in ((tmp_path, "new"), (tmp_path / PREVIOUS, "old")):
        write_json(folder / "result.json", {"fingerprint": content})
        (folder / "result.zarr").mkdir()
    back_up_result(tmp_path)
    assert "new" in (tmp_path / PREVIOUS / "result.json").read_text(encoding="utf-8")
    assert not (tmp_path / "result.zarr").exists()
    assert restore_previous(tmp_path)
    assert "new" in (tmp_path / "result.json").read_text(encoding="utf-8")
