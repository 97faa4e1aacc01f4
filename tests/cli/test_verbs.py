"""Further commands: help with working examples, fast start-up, and the last line of each."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.main import get_command
from typer.testing import CliRunner

from napari_melanoma import doctor
from napari_melanoma.cli import app, application
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.lesion.results import LOCK, SALT
from napari_melanoma.models import DEFAULT_CLASSIFIER, DEFAULT_PHONE_CLASSIFIER
from napari_melanoma.runs import train

VERBS = (
    "open",
    "lesion",
    "train",
    "studies readings",
    "studies relation",
    "studies biomarkers",
    "report",
    "reproduce",
    "risk",
    "adapt",
    "evaluate",
    "data import-masks",
    "data check",
    "models list",
    "models show",
    "phantom lesion",
    "phantom slide",
    "phantom cohort",
    "doctor",
    "demo",
)


def examples(verb: str) -> list[str]:
    """Return the two examples at the start of a command's help."""
    shown = CliRunner().invoke(app, [*verb.split(), "--help"], terminal_width=120)
    assert shown.exit_code == 0
    lines = [line.strip() for line in shown.output.splitlines()]
    start = lines.index("Examples:")
    assert [line for line in lines[:start] if line] == [lines[0]], "only the usage precedes the examples"
    return lines[start + 1 : start + 3]


@pytest.mark.parametrize("verb", VERBS)
def test_help_starts_with_two_examples_that_parse(verb: str) -> None:
    found = examples(verb)
    assert len(set(found)) == 2
    for example in found:
        words = shlex.split(re.sub("^python -m napari_melanoma", "napari-melanoma", example).split(" < ")[0])
        assert words[: 1 + len(verb.split())] == ["napari-melanoma", *verb.split()]
        command, rest = get_command(app), words[1:]
        while hasattr(command, "commands"):
            command = command.get_command(None, rest.pop(0))
        assert command.make_context(command.name, rest).command is command


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", [example for verb in ("models list", "phantom lesion") for example in examples(verb)]
)
def test_quick_examples_run(run, tmp_path: Path, example: str) -> None:
    assert run(*shlex.split(example.replace("--count 20", "--count 2"))[1:]).exit_code == 0
    assert len(list(tmp_path.glob("phantoms/*_mask.png"))) == (
        0 if "models" in example else 2 if "count" in example else 1
    )


@pytest.mark.usefixtures("dark")
def test_the_example_of_several_photographs_runs(run, tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "more").mkdir()
    (photographs / "p0.png").rename(tmp_path / "more" / "p0.png")
    (example,) = (example for example in examples("lesion") if "--click" not in example)
    result = run(*shlex.split(example)[1:])
    assert result.exit_code == 0, result.output
    written = {path.name for path in (tmp_path / "results").iterdir()}
    assert written == {"p0", "p1", "p2", "results.csv", SALT, LOCK}


def test_the_example_with_clicks_runs(run, tmp_path: Path) -> None:
    Image.new("RGB", (700, 500), (200, 160, 140)).save(tmp_path / "photo.jpg")
    (example,) = (example for example in examples("lesion") if "--click" in example)
    result = run(*shlex.split(example)[1:])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "results" / "photo" / "mask.png").is_file()


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from napari_melanoma.cli import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "heavy = {'torch', 'numpy', 'pydantic', 'qtpy', 'napari', 'PIL', 'rich'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version(run) -> None:
    assert re.fullmatch(r"napari-melanoma \d\S+\n", run("--version").stdout)


@pytest.mark.slow
def test_models_are_listed_and_shown(run, tiny: Path, lines) -> None:
    result = run("models", "show", tiny)
    assert result.exit_code == 0
    assert result.stdout.startswith("# The card of tiny\n")
    model, summary = lines(run("models", "show", tiny, "--json").stdout)
    assert (model["event"], model["name"], model["input_size"]) == ("model", "tiny", 64)
    assert summary["path"] == str(tiny)
    listed = lines(run("models", "list", "--json").stdout)
    models = {line["name"]: line["modalities"] for line in listed if line["event"] == "model"}
    assert listed[-1]["count"] == len(models)
    classifiers = models[DEFAULT_CLASSIFIER], models[DEFAULT_PHONE_CLASSIFIER]
    assert classifiers == (["dermoscopic"], ["macroscopic"])


def test_architectures_are_listed_with_their_size_and_source(run, lines) -> None:
    listed = {
        line["name"]: line for line in lines(run("models", "list", "--json").stdout) if line["event"] == "architecture"
    }
    assert listed["deeplabv3plus"]["parameters"] == pytest.approx(3.86e6, rel=0.01)
    assert "doi:" in listed["deeplabv3plus"]["reference"]
    assert listed["deeplabv3plus"]["options"]["output_stride"] == 16


@pytest.mark.slow
def test_a_model_is_exported(run, tiny: Path) -> None:
    done = run("models", "export", tiny, "--out", "onnx/tiny.onnx")
    assert (done.exit_code, Path("onnx/tiny.onnx").is_file()) == (0, True), done.output
    assert done.stdout.endswith("; how to use it: python onnx/example.py --help\n"), done.output
    assert "config.json" in run("models", "export", "--help").stdout
    wrong = run("models", "export", tiny, "--out", "tiny.pt")
    assert wrong.exit_code == 2
    assert "an ONNX file needs the suffix .onnx, found 'tiny.pt'" in wrong.stderr


def test_an_unknown_model_is_a_usage_error(run) -> None:
    result = run("models", "show", "none")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no model named 'none'" in result.stderr


def test_phantoms(run, tmp_path: Path, lines) -> None:
    words = "phantom lesion --out out --seed 7 --count 2 --modality macroscopic --skin-type 5 --size 64 96 --json"
    result = run(*words.split())
    assert result.exit_code == 0, result.output
    assert [event["image"] for event in lines(result.stdout) if event["event"] == "phantom"] == [
        str(Path("out") / name) for name in ("lesion_0007.png", "lesion_0008.png")
    ]
    with (
        Image.open(tmp_path / "out" / "lesion_0007.png") as image,
        Image.open(tmp_path / "out/lesion_0007_mask.png") as mask,
    ):
        assert image.size == mask.size == (96, 64)
        assert set(np.unique(mask)) == {0, 255}
    truth = json.loads((tmp_path / "out" / "lesion_0008.truth.json").read_text(encoding="utf-8"))
    assert "macroscopic" in json.dumps(truth)


@pytest.mark.slow
def test_a_phantom_grows_by_the_stated_share(run, tmp_path: Path) -> None:
    """On the same skin, around the same center; the first photograph is the same as without growth."""
    assert run("phantom", "lesion", "--out", "out", "--seed", 5, "--growth", 0.5).exit_code == 0
    truth = [json.loads((tmp_path / f"out/lesion_0005{end}.truth.json").read_text("utf-8")) for end in ("", "_grown")]
    areas = [one["lesions"][0]["area_mm2"] for one in truth]
    assert areas[1] / areas[0] == pytest.approx(1.5, rel=0.01)
    assert truth[0]["pixel_size_um"] == truth[1]["pixel_size_um"]
    assert truth[0]["lesions"][0]["centre_px"] == pytest.approx(truth[1]["lesions"][0]["centre_px"], abs=0.5)
    pixels = [np.asarray(Image.open(tmp_path / f"out/lesion_0005{end}.png").convert("RGB")) for end in ("", "_grown")]
    mask = np.asarray(Image.open(tmp_path / "out/lesion_0005_grown_mask.png")) > 0
    far = ~ndimage.binary_dilation(mask, iterations=40)
    assert np.abs(pixels[0][far].astype(int) - pixels[1][far]).mean() < 1
    assert run("phantom", "lesion", "--out", "alone", "--seed", 5).exit_code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "alone/lesion_0005.png").convert("RGB")), pixels[0])


@pytest.mark.parametrize("words", ["--skin-type 9", "--size 2 2", "--count 0", "--modality wsi", "--seed -1"])
def test_impossible_phantoms_are_rejected(run, tmp_path: Path, words: str) -> None:
    result = run("phantom", "lesion", "--out", "out", *words.split())
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_the_suggested_next_command_analyzes_phantoms(run, tmp_path: Path, dark) -> None:
    output = run("phantom", "lesion", "--out", "out", "--count", 2, "--size", 64, 64).stdout
    next_command = output.split("next: napari-melanoma ")[1].split()
    assert run(*next_command).exit_code == 0
    written = {path.name for path in (tmp_path / "RESULTS").iterdir()}
    assert written == {"lesion_0000", "lesion_0001", "results.csv", SALT, LOCK}


RECIPE = '[data]\ndatasets = ["dataset"]\n'


def test_a_recipe_with_an_unknown_key(run, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f"epoch = 3\n{RECIPE}", encoding="utf-8")
    result = run("train", "--config", "recipe.toml", "--out", "run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unknown key 'epoch'" in result.stderr
    assert "epochs" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_recipe(run) -> None:
    result = run("train", "--config", "none.toml", "--out", "run")
    assert result.exit_code == 2
    assert "cannot read none.toml" in result.stderr


def test_training_reports_notices_bundle_and_next_command(run, tmp_path: Path, tiny: Path, monkeypatch) -> None:
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import read_bundle

    arguments = {}

    def fake_train(recipe, out, *, resume, run, queue, graphs):
        arguments.update(datasets=recipe.data.datasets, out=out, resume=resume, queue=queue, graphs=graphs)
        for _ in range(2):  # as a run that was resumed
            RunFolder(tmp_path / out).append_event("notice", message="Not used: the split 'test' (12 images).")
        return read_bundle(tiny)

    monkeypatch.setattr(train, "train", fake_train)
    (tmp_path / "run").mkdir()
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    result = run("train", "--config", "recipe.toml", "--out", "run", "--resume", "--queue")
    assert result.exit_code == 0, result.output
    expected = {"datasets": ("dataset",), "out": Path("run"), "resume": True, "queue": True, "graphs": True}
    assert arguments == expected
    assert f"napari-melanoma evaluate --model {tiny}" in result.stdout
    assert result.stderr.count("Notice: Not used: the split 'test' (12 images).") == 1


def test_evaluating_without_data_is_a_usage_error(run, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("napari_melanoma.lesion.segmentation.Segmenter.load", None)  # rejected before it is called
    result = run("evaluate", "--model", tiny, "--data", "nowhere", "--out", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nowhere" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_evaluation_lists_failed_images(run, tiny: Path, photographs: Path, tmp_path: Path, lines) -> None:
    (tmp_path / "data" / "masks").mkdir(parents=True)
    photographs.rename(tmp_path / "data" / "images")
    for number in range(3):
        Image.fromarray(np.eye(80, 100, dtype=np.uint8) * 255).save(tmp_path / "data" / "masks" / f"p{number}.png")
    (tmp_path / "data" / "images" / "p1.png").write_bytes(b"")
    (tmp_path / "data" / "dataset.csv").write_text("image_id\np0\np1\np2\n", encoding="utf-8")
    result = run("evaluate", "--model", tiny, "--data", "data", "--out", "out", "--no-refine")
    assert result.exit_code == 1, result.output
    assert "p1.png is empty" in result.stderr
    assert "over 2 images" in result.stdout
    assert "1 failed" in result.stdout
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["options"]["refinement"]["smoothing"] == 0
    events = lines(run("evaluate", "--model", tiny, "--data", "data", "--out", "out", "--json").stdout)
    assert [event["image"] for event in events if event["event"] == "failed"] == ["p1"]
    assert (events[-1]["failed"], events[-1]["exit_code"]) == (1, 1)


CHECKS = {
    "ok": doctor.DoctorCheck("Python", "ok", "3.14"),
    "warn": doctor.DoctorCheck("Qt", "warn", "none", "Install one."),
    "fail": doctor.DoctorCheck("Torch", "fail", "missing", "Install it."),
}


@pytest.mark.parametrize(
    ("found", "code", "last"),
    [
        (["ok"], 0, "All required components work"),
        (["ok", "warn"], 0, "limitations: Qt"),
        (["warn", "fail"], 1, "not work yet: Torch"),
    ],
    ids=["ok", "a warning", "a failure"],
)
def test_doctor_fails_only_for_essential_checks(run, monkeypatch, lines, found, code: int, last: str) -> None:
    monkeypatch.setattr(doctor, "run_checks", lambda run: [CHECKS[status] for status in found])
    result = run("doctor")
    assert result.exit_code == code
    assert last in result.stdout.splitlines()[-1]
    assert all(CHECKS[status].fix in result.stdout for status in found)
    events = lines(run("doctor", "--json").stdout)
    assert [event["status"] for event in events if event["event"] == "check"] == found
    assert events[-1]["exit_code"] == code


def test_open_and_demo_call_the_viewer(run, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    window = type("Module", (), {})
    window.open_viewer = lambda paths, slides, size: (
        called.append(("open", [path.name for path in paths], [path.name for path in slides], size)) or 0
    )
    window.run_demo = lambda *arguments, headless: called.append(("demo", *arguments, headless)) or 0

    def load(name: str) -> type:
        source = Path(find_spec(name).origin).read_text(encoding="utf-8")
        assert f"def {'run_demo' if name.endswith('.demo') else 'open_viewer'}(" in source
        return window

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(application, "import_module", load)
    monkeypatch.setattr(application.signal, "signal", lambda number, handler: None)
    assert run("open", photographs).exit_code == 0
    assert run("open").exit_code == 0
    assert run("open", photographs / "p0.png", "--mpp", "0.25").exit_code == 0
    assert run("open", "missing.png").exit_code == 2
    assert run("open", photographs, "--mpp", "-1").exit_code == 2
    assert "Screenshot" in run("demo", "x.png", "--out", "out", "--headless").stdout
    assert run("demo", "--slide", "--out", "out").exit_code == 0
    assert run("demo", "--case", "--out", "out").exit_code == 0
    for words in (("x.png", "--slide"), ("--slide", "--case")):
        refused = run("demo", *words, "--out", "out")
        assert refused.exit_code == 2
        assert "expected one of IMAGE, --slide and --case" in refused.stderr
    assert called == [
        ("open", ["p0.png", "p1.png", "p2.png"], [], None),
        ("open", [], [], None),
        ("open", [], ["p0.png"], PixelSize(0.25, 0.25, "given")),
        ("demo", Path("x.png"), Path("out"), "lesion", True),
        ("demo", None, Path("out"), "slide", False),
        ("demo", None, Path("out"), "case", False),
    ]
