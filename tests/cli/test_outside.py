"""Untrusted data sets: no command reads, copies or changes files outside the folder, unless allowed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.config import write_toml
from napari_melanoma.io.results import read_table
from napari_melanoma.training.recipe import TrainRecipe

RNG = np.random.default_rng(0)


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Files that must not be touched: images, a script, a table."""
    victim = tmp_path / "victim"
    picture(victim / "secret.png")
    picture(victim / "images" / "a.png")
    (victim / "important.sh").write_text("canary")
    (victim / "dataset.csv").write_text("image_id,patient_id\na,canary\n")
    return victim


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def dataset(folder: Path, rows: list[dict[str, str]]) -> Path:
    for name in "ab":
        picture(folder / "images" / f"{name}.png")
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 10:30] = 255
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "images" / "payload.sh").write_text("rm -rf /")
    (folder / "images" / "payload.png").write_text("rm -rf /")
    columns = ("image_id", "path", "mask_path", "patient_id", "split")
    found = [{"image_id": name, "patient_id": name, "split": "train" if name == "a" else "val"} for name in "ab"]
    lines = [",".join(f'"{row.get(column, "")}"' for column in columns) for row in [*found, *rows]]
    (folder / "dataset.csv").write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
    return folder


IDS = [
    *("../../../victim/important", "../victim/secret", "..", "/etc/passwd", "a/b", "a\\b", "C:\\a", "x\u202ey", "x\ty"),
    "n" * 300,
]
PATHS = [
    *("/etc/hostname", "../victim/secret.png", "images/../../victim/secret.png", "\\\\host\\share\\a.png", "C:\\a.png"),
    *("C:/a.png", "..\\victim\\secret.png", "images\\a.png", "link/secret.png", "images/link.png", "images/\x01.png"),
]
ROWS = [
    *({"image_id": image_id, "path": "images/a.png"} for image_id in IDS),
    *({"image_id": "x", "path": path} for path in PATHS),
    *({"image_id": "x", "path": "images/a.png", "mask_path": path} for path in PATHS[:4]),
]
CHEAP = {
    "merge": ("data", "merge", "evil", "good", "--out", "out"),
    "split": ("data", "split", "evil", "--test", "0.3"),
    "duplicates": ("data", "duplicates", "evil", "--out", "out.csv"),
    "check": ("data", "check", "evil"),
}
WITH_MODELS = {
    "train": ("train", "--config", "recipe.toml", "--out", "out"),
    "train-check": ("train", "--config", "recipe.toml", "--check"),
    "evaluate": ("evaluate", "--model", "lesion-small", "--data", "evil", "--out", "out"),
    "compare": ("compare", "--model", "lesion-small", "--model", "lesion-small", "--data", "evil", "--out", "out"),
    "features": ("data", "features", "evil", "--out", "out.csv"),
    "baseline": ("data", "baseline", "evil", "--columns", "patient_id"),
    "report": ("data", "report", "evil", "--out", "out.md"),
    "reproduce": ("reproduce", "P4", "--data", "evil", "--out", "out", "--budget", "small"),
}


@pytest.fixture
def evil(tmp_path: Path, victim: Path) -> Callable[[dict[str, str]], Path]:
    def make(row: dict[str, str]) -> Path:
        folder = dataset(tmp_path / "evil", [row])
        try:
            (folder / "link").symlink_to(victim, target_is_directory=True)
            (folder / "images" / "link.png").symlink_to(victim / "secret.png")
        except OSError:
            pytest.skip("links cannot be made here")
        dataset(tmp_path / "good", [])
        recipe = {"name": "r", "data": {"datasets": ("evil",)}, "model": {"start": "none"}}
        write_toml(tmp_path / "recipe.toml", TrainRecipe.parse(recipe, "the test"))
        return folder

    return make


@pytest.fixture
def untouched(tmp_path: Path, victim: Path) -> Iterator[None]:
    """Check at the end that the victim is unchanged and that no other file has its content."""
    before = tree(victim)
    yield
    assert tree(victim) == before
    secrets = [(victim / name).read_bytes() for name in ("secret.png", "important.sh")]
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(victim):
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(max(row.items())[1])[:40] + ascii(row["image_id"])[:30])
@pytest.mark.usefixtures("untouched")
def test_merge_rejects_a_row_outside_the_folder_and_writes_nothing(run, evil, tmp_path: Path, row: dict) -> None:
    evil(row)
    result = run(*CHEAP["merge"])
    assert result.exit_code == 2, result.output
    assert "row 3" in result.stderr
    assert "dataset.csv" in result.stderr
    assert any(f"{column} {row[column][:200]!r}" in result.stderr for column in row), result.stderr
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize("path", ["images/payload.sh", "images/payload.png"])
@pytest.mark.usefixtures("untouched")
def test_merge_copies_only_images(run, evil, tmp_path: Path, path: str) -> None:
    evil({"image_id": "x", "path": path})
    result = run(*CHEAP["merge"])
    assert (result.exit_code, "is not an image" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


CONTINUING = {"check": 1, "features": 1, "report": 0}  # these report the row and continue with the others


@pytest.mark.parametrize("path", ["../victim/secret.png", "link/secret.png"])
@pytest.mark.parametrize("verb", [*CHEAP, *WITH_MODELS])
@pytest.mark.usefixtures("untouched")
def test_every_data_command_rejects_rows_outside_the_folder(run, evil, verb: str, path: str) -> None:
    evil({"image_id": "x", "path": path})
    result = run(*{**CHEAP, **WITH_MODELS}[verb])
    assert result.exit_code == CONTINUING.get(verb, 2), result.output
    assert f"row 3, path {path!r}" in result.output


def test_an_outside_file_is_used_and_listed_if_allowed(run, evil, tmp_path: Path, lines) -> None:
    evil({"image_id": "x", "path": "../victim/secret.png"})
    result = run(*CHEAP["merge"], "--allow-outside", "--json")
    assert result.exit_code == 0, result.output
    events = [line for line in lines(result.stdout) if line["event"] == "outside"]
    assert [(line["count"], len(line["first"])) for line in events] == [(1, 1)]
    assert (tmp_path / "out" / "images" / "x.png").read_bytes() == (tmp_path / "victim" / "secret.png").read_bytes()
    (tmp_path / "evil" / "dataset.csv").write_text("image_id,path\nx,../victim/important.sh\n")
    assert run("data", "merge", "evil", "good", "--out", "other", "--allow-outside").exit_code == 2  # not an image


@pytest.mark.usefixtures("untouched")
def test_links_to_images_and_tables_are_rejected(run, evil, tmp_path: Path, victim: Path) -> None:
    folder = evil({"image_id": "link", "path": ""})
    result = run(*CHEAP["merge"])
    assert (result.exit_code, "link" in result.stderr) == (2, True)
    (folder / "dataset.csv").unlink()
    (folder / "dataset.csv").symlink_to(victim / "dataset.csv")
    result = run(*CHEAP["merge"])
    assert (result.exit_code, "leads out" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_ids_that_are_not_file_names_are_kept_and_mapped(run, tmp_path: Path) -> None:
    one, two = dataset(tmp_path / "one", []), dataset(tmp_path / "two", [])
    names = ["con", "a.", "A", "a:b", "é", "e\u0301", "-x"]
    for folder, offset in ((one, 0), (two, 100)):
        rows = [f"{name},images/{number + offset}.png" for number, name in enumerate(names)]
        for number in range(len(names)):
            picture(folder / "images" / f"{number + offset}.png")
        (folder / "dataset.csv").write_text("\n".join(["image_id,path", *rows]) + "\n", encoding="utf-8")
    assert run("data", "merge", "one", "two", "--out", "both").exit_code == 0
    rows = read_table(tmp_path / "both" / "dataset.csv")
    assert len(rows) == 2 * len(names)
    assert all((tmp_path / "both" / row["path"]).is_file() for row in rows)
    assert len({row["path"].lower() for row in rows}) == len(rows)
    assert json.loads((tmp_path / "both" / "source.json").read_text())["images"] == len(rows)
    assert run("data", "check", "both").exit_code == 0
