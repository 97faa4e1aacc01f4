"""The comparison of golden files: of every kind, equal content passes and a changed value is found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from golden.folders import compare_files, compare_folders
from golden.normalizing import Names
from golden.sandbox import ORIGIN
from golden.scenarios import CopyData, Scenario, with_needs, without_data
from golden.values import differences

from napari_melanoma.data.export_catalog import DATA_EXPORTS
from napari_melanoma.reports.export_formats import FORMATS

NAMES = (Names(), Names())
Write = Callable[[Path, float], None]


def write_text(text: str) -> Write:
    """Write a text with a number in it."""
    return lambda path, value: path.write_text(text.replace("VALUE", repr(value)), encoding="utf-8")


def write_picture(path: Path, value: float) -> None:
    from PIL import Image

    Image.fromarray(np.full((4, 5, 3), int(10 * value), np.uint8)).save(path)


def write_tiff(path: Path, value: float) -> None:
    import tifffile

    tifffile.imwrite(path, np.full((16, 16), int(10 * value), np.uint8), description="a map")


def write_zarr(path: Path, value: float) -> None:
    import zarr

    group = zarr.open_group(str(path), mode="w")
    group.create_array("map", data=np.array([value, 2.0], np.float32))
    group.attrs["model"] = "tile-demo"


def write_npy(path: Path, value: float) -> None:
    np.save(path, np.array([value, 5.0]))


def write_npz(path: Path, value: float) -> None:
    np.savez(path, first=np.array([value, 5.0]))


def write_safetensors(path: Path, value: float) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.array([value, 5.0], np.float32)}, path, metadata={"name": "tiny"})


def write_parquet(path: Path, value: float) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"score": [value], "name": ["a"]}), path)


def write_torch(path: Path, value: float) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"classes of any version")
        archive.writestr("model/data/0", np.array([value, 5.0], np.float32).tobytes())


def write_onnx(path: Path, value: float) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [value])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "sum", [ends[0]], [ends[1]], [weight])
    onnx.save(helper.make_model(graph), str(path))


KINDS: dict[str, Write] = {
    "result.json": write_text('{"threshold": VALUE, "name": "tile-demo"}'),
    "lesions.geojson": write_text('{"type": "Point", "coordinates": [VALUE, 2]}'),
    "recipe.toml": write_text('name = "tiny"\nlearning_rate = VALUE\n'),
    "results.csv": write_text("image_id,area_mm2\na,VALUE\n"),
    "events.jsonl": write_text('{"event": "epoch", "loss": VALUE}\n'),
    "report.html": write_text("<html><style>p {}</style><p>area</p><p>VALUE mm²</p></html>"),
    "card.md": write_text("# Tiny\nDice VALUE\n"),
    "run.stdout.txt": write_text("done\n4 lesions, VALUE mm²\n"),
    "mask.png": write_picture,
    "photo.bmp": write_picture,
    "heatmap.ome.tif": write_tiff,
    "result.zarr": write_zarr,
    "values.npy": write_npy,
    "values.npz": write_npz,
    "model.safetensors": write_safetensors,
    "tiles.parquet": write_parquet,
    "last.ckpt": write_torch,
    "model.onnx": write_onnx,
}


@pytest.mark.parametrize("name", KINDS)
def test_equal_files_pass_and_a_changed_value_is_found(name: str, tmp_path: Path) -> None:
    for folder, value in (("old", 1.5), ("same", 1.5), ("changed", 2.5)):
        (tmp_path / folder).mkdir()
        KINDS[name](tmp_path / folder / name, value)
    old = tmp_path / "old" / name
    assert compare_files(name, old, tmp_path / "same" / name, NAMES, 1e-6) == []
    assert compare_files(name, old, tmp_path / "changed" / name, NAMES, 1e-6) != []


@pytest.mark.parametrize("name", ["result.json", "results.csv", "result.zarr", "model.safetensors", "events.jsonl"])
def test_floats_may_differ_by_the_tolerance(name: str, tmp_path: Path) -> None:
    for folder, value in (("old", 1.5), ("new", 1.50001)):
        (tmp_path / folder).mkdir()
        KINDS[name](tmp_path / folder / name, value)
    paths = tmp_path / "old" / name, tmp_path / "new" / name
    assert compare_files(name, *paths, NAMES, 1e-4) == []
    assert compare_files(name, *paths, NAMES, 1e-6) != []


VARYING = [
    ("Saved at 2026-11-22T05:30:47Z", "Saved at 2027-01-02T15:00:01Z"),
    ("4 done in 15.6 s: results in out", "4 done in 2 s: results in out"),
    ("training: 3 days left", "training: 10 h left"),
    ("napari-melanoma 0.1.0.dev12+g7b2e9b0f", "napari-melanoma 0.2.0"),
    ("22.4 GB free of 25.3 GB", "8.1 GB free of 16.0 GB"),
    ("Patient P-DSF3Q6-ZYJM62", "Patient P-2R7RGE-TTCEW7"),
    ("slide: 124 tiles/s", "slide: 97.5 tiles/s"),
]
TELLING = [
    ("4 done", "5 done"),
    ("melanoma 0.75 (95 % interval 0.50–1.00)", "melanoma 0.75 (95 % interval 0.50–0.99)"),
    ("Breslow thickness 0.48 mm", "Breslow thickness 0.49 mm"),
    ("512 x 512 px", "512 x 511 px"),
    ("Select a model", "Select the model"),
    ("one\ntwo", "one\ntwo\nthree"),
]


@pytest.mark.parametrize(("before", "after"), VARYING)
def test_values_that_vary_between_runs_are_ignored(before: str, after: str) -> None:
    assert Names().lines(before) == Names().lines(after)


@pytest.mark.parametrize(("before", "after"), TELLING)
def test_differences_in_texts_are_found(before: str, after: str) -> None:
    assert Names().lines(before) != Names().lines(after)


def test_frames_of_a_traceback_are_left_out_and_its_exception_is_not() -> None:
    def traceback(module: str, message: str) -> str:
        frame = f'  File "/tree/src/{module}.py", line 12, in read\n    return load(path)\n           ^^^^^^^^^^\n'
        return f"Traceback (most recent call last):\n{frame}{frame}InputError: {message}\n"

    names = Names()
    lines = names.lines(traceback("old", "no file"))
    assert lines == ["Traceback (most recent call last):", "InputError: no file"]
    assert lines == names.lines(traceback("new", "no file"))
    assert lines != names.lines(traceback("old", "no folder"))


def test_lines_about_progress_are_left_out_of_streams_alone(tmp_path: Path) -> None:
    for folder, text in (("old", "1/4  drawing\ndone\n"), ("new", "3/4, 6 s left  drawing\n4/4  drawing\ndone\n")):
        (tmp_path / folder).mkdir()
        for name in ("plain.stderr.txt", "notes.txt"):
            (tmp_path / folder / name).write_text(text)
    for name, count in (("plain.stderr.txt", 0), ("notes.txt", 3)):
        assert len(compare_files(name, tmp_path / "old" / name, tmp_path / "new" / name, NAMES, 1e-6)) == count


KEYS = [("seconds", 3.5, 1.2, 0), ("area_mm2", 3.5, 1.2, 1), ("commit", "a1", "b2", 0), ("name", "a1", "b2", 1)]


@pytest.mark.parametrize(("key", "before", "after", "count"), KEYS)
def test_values_of_keys_that_vary_are_not_compared(key: str, before: object, after: object, count: int) -> None:
    assert len([*differences({key: before}, {key: after}, 1e-6)]) == count
    assert len([*differences({key: before}, {}, 1e-6)]) == 1


def recording(folder: Path, files: dict[str, str]) -> Path:
    """Write what a scenario would leave."""
    folder.mkdir()
    (folder / ORIGIN).write_text(json.dumps({"root": str(folder)}))
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_folders_are_compared_by_name_and_content(tmp_path: Path) -> None:
    old = recording(tmp_path / "old", {"a.txt": f"in {tmp_path / 'old'}", "b.txt": "b", "home/cache/other.txt": "1"})
    new = recording(tmp_path / "new", {"a.txt": f"in {tmp_path / 'new'}", "c.txt": "c"})
    assert compare_folders(old, new, 1e-6) == ["b.txt: is missing", "c.txt: is new"]
    (new / "a.txt").write_text("elsewhere")
    assert "a.txt[1]: 'in <root>' became 'elsewhere'" in compare_folders(old, new, 1e-6)


def test_scenarios_include_their_requirements_or_a_reason(tmp_path: Path) -> None:
    first, second = Scenario("first", [CopyData("none.jpg", "a.jpg")]), Scenario("second", [], ["first"])
    known = {scenario.name: scenario for scenario in (first, second, Scenario("third", []))}
    chosen = with_needs(["second"], known)
    assert [scenario.name for scenario in chosen] == ["first", "second"]
    skipped = without_data(chosen, tmp_path)
    assert skipped == {"first": "the real data have no none.jpg", "second": "needs first, which is skipped"}


def test_every_scenario_comes_after_those_that_it_needs() -> None:
    from golden.catalog import SCENARIOS

    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    for number, scenario in enumerate(SCENARIOS):
        assert set(scenario.needs) <= set(names[:number]), scenario.name


def test_every_format_of_an_export_is_in_a_scenario() -> None:
    from golden.catalog import SCENARIOS
    from golden.scenarios import Run

    commands = [step.command.split() for scenario in SCENARIOS for step in scenario.steps if isinstance(step, Run)]
    results = {
        name
        for words in commands
        if words[:1] == ["export"] and "--to" in words
        for name in words[words.index("--to") + 1].split(",")
    }
    assert results >= {*FORMATS}
    assert {words[2] for words in commands if words[:2] == ["data", "export"]} >= {*DATA_EXPORTS.members}
