"""``compare`` and ``models import`` on the command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from slide_models import SKIN_TEST, install_slide_models
from typer.testing import Result

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.files import write_json
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models import graphs
from napari_melanoma.models.bundle import CONFIG, BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER, install_bundle, user_models_folder
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, write_data

Run = Callable[..., Result]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export no network: it takes seconds."""
    monkeypatch.setattr(graphs, "write_graphs", lambda *_, **__: None)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Six photographs with masks; one of them is none."""
    folder = tmp_path / "clinic"
    mask = np.zeros((48, 48), bool)
    mask[12:36, 12:36] = True
    for index in range(6):
        write_rgb(folder / f"images/c{index}.png", np.full((48, 48, 3), 20 * index, np.uint8))
        write_mask(folder / f"masks/c{index}.png", mask)
    write_table(folder / "dataset.csv", [{"image_id": f"c{n}", "split": "val"} for n in range(6)])
    return folder


@pytest.fixture
def finished(tmp_path: Path, clinic: Path, tiny_bundle: BundleInfo) -> Path:
    """A run whose bundle is the one it started from."""
    folder = RunFolder(tmp_path / "run-01")
    folder.path.mkdir()
    values = {"data": {"datasets": [str(clinic)]}, "model": {"start": str(tiny_bundle.path)}}
    write_toml(folder.config, TrainRecipe.parse(values, "the test"))
    write_data(folder.data, [DataRow("test", sample, "", "") for sample in read_dataset(clinic)])
    shutil.copytree(tiny_bundle.path, folder.bundle)
    return folder.path


@pytest.mark.parametrize("out", [".", "results"])
@pytest.mark.parametrize("command", ["evaluate", "compare", "studies biomarkers", "data report", "data merge", "train"])
def test_no_command_writes_results_into_a_data_set(
    run: Run, clinic: Path, tiny_bundle: BundleInfo, tmp_path: Path, command: str, out: str
) -> None:
    other, recipe = tmp_path / "other", tmp_path / "recipe.toml"
    shutil.copytree(clinic, other)
    write_toml(recipe, TrainRecipe.parse({"data": {"datasets": [str(other)]}}, "the test"))
    arguments = {
        "evaluate": ("--model", tiny_bundle.path, "--data", other),
        "compare": (*("--model", tiny_bundle.path) * 2, "--data", other),
        "data report": (other,),
        "data merge": (clinic, other),
        "train": ("--config", recipe),
        "studies biomarkers": ("melanoma-small", "--data", other),
    }
    before = sorted(other.rglob("*"))
    done = run(*command.split(), *arguments[command], "--out", other / out)
    assert done.exit_code == 2, done.output
    where = "is" if out == "." else "lies in"
    assert f"{where} the data set {other}, which results must not change" in " ".join(done.output.split())
    assert sorted(other.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        *("evaluate", "compare", "compare --replay", "studies biomarkers"),
        *("data report", "data merge", "data duplicates", "train", "train --folds"),
    ],
)
def test_no_command_counts_the_images_of_a_data_set_twice(
    run: Run, clinic: Path, tiny_bundle: BundleInfo, tmp_path: Path, command: str
) -> None:
    link, recipe = tmp_path / "clinic-link", tmp_path / "recipe.toml"
    link.symlink_to(clinic)
    write_toml(recipe, TrainRecipe.parse({"data": {"datasets": [str(clinic), str(link)]}}, "the test"))
    both = ("--data", clinic, "--data", link)
    arguments = {
        "evaluate": ("--model", tiny_bundle.path, *both),
        "compare": (*("--model", tiny_bundle.path) * 2, *both),
        "compare --replay": (*("--model", tiny_bundle.path) * 2, "--data", clinic, "--replay", link),
        "data report": (clinic, link),
        "data merge": (clinic, link),
        "data duplicates": (clinic, link),
        "train": ("--config", recipe),
        "train --folds": ("--config", recipe, "--folds", "2"),
        "studies biomarkers": ("melanoma-small", *both),
    }
    words = [word for word in command.split() if not word.startswith("--")]
    done = run(*words, *arguments[command], "--out", "out")
    assert done.exit_code == 2, done.output
    assert "each data set must be specified once" in done.output
    assert not (tmp_path / "out").exists()


def test_two_models_on_a_data_set(run: Run, clinic: Path, tiny_bundle: BundleInfo, lines) -> None:
    model = ("--model", tiny_bundle.path) * 2
    done = run("compare", *model, "--data", clinic, "--split", "val", "--out", "out")
    assert done.exit_code == 0, done.output
    table = done.stdout.splitlines()
    assert table[0].split() == ["images", "n", "metric", "tiny", "tiny", "difference", "(95", "%", "interval)"]
    assert table[1].split()[:4] == ["all", "6", "Jaccard", "(IoU)"]
    assert table[-1].startswith("Inconclusive. The models perform equally well: Jaccard (IoU) +0.000")
    assert table[-1].endswith("(written to out/comparison.json; report: out/comparison.html)")
    found = lines(run("compare", *model, "--data", clinic, "--out", "out", "--json").stdout)
    (comparison,) = (line for line in found if line["event"] == "comparison")
    assert comparison["difference"]["JA"]["mean"] == 0.0
    assert (found[-1]["event"], found[-1]["advice"]) == ("summary", "inconclusive")
    assert {path.name for path in Path("out").iterdir()} == {
        "changes.png", "comparison.html", "comparison.json", "per_image.csv",
    }  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ("models", "show", "{run}"),
        ("models", "export", "{run}", "--format", "hub", "--out", "hub"),
        ("evaluate", "--model", "{run}", "--data", "{data}", "--out", "out"),
        ("compare", "--model", "{run}", "--model", "{run}", "--data", "{data}", "--out", "out"),
        ("lesion", "{data}/images/c5.png", "--model", "{run}", "--out", "out"),
    ],
    ids=" ".join,
)
def test_a_run_folder_is_named_as_a_model(run: Run, clinic: Path, finished: Path, command: tuple[str, ...]) -> None:
    done = run(*(word.format(run=finished, data=clinic) for word in command))
    assert done.exit_code == 0, done.output


def test_classifier_options_are_rejected_for_segmentation_models(
    run: Run, clinic: Path, tiny_bundle: BundleInfo
) -> None:
    done = run("compare", *("--model", tiny_bundle.path) * 2, "--data", clinic, "--target", "melanoma", "--out", "out")
    assert done.exit_code == 2
    assert "--target, --masks, --segmenter and --sensitivity apply to classifiers only" in done.stderr
    assert not Path("out").exists()


def test_three_models_and_the_evaluations_of_two(run: Run, clinic: Path, tiny_bundle: BundleInfo, lines) -> None:
    done = run("compare", *("--model", tiny_bundle.path) * 3, "--data", clinic, "--out", "three")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == ["images", "n", "model", "TJA", "JA", "DI", "HD95_relative", "BF1"]
    assert done.stdout.splitlines()[-1].startswith("3 models compared with the first (written to three/models.json")
    assert run("evaluate", "--model", tiny_bundle.path, "--data", clinic, "--out", "one").exit_code == 0
    shutil.copytree("one", "two")
    found = lines(run("compare", "one", "two", "--out", "both", "--json").stdout)
    (comparison,) = (line for line in found if line["event"] == "comparison")
    assert [item["model"] for item in comparison["parts"][0]["models"]] == ["one", "two"]
    assert comparison["parts"][0]["models"][1]["difference"]["JA"]["mean"] == 0.0
    refused = run("compare", "one", "two")
    assert refused.exit_code == 2
    assert "the output folder for the comparison of evaluations is missing. Add --out DIR." in refused.stderr


def test_replay_data_are_named(run: Run, clinic: Path, tiny_bundle: BundleInfo) -> None:
    shutil.copytree(clinic, clinic.with_name("known"))
    words = ("--data", clinic, "--replay", clinic.with_name("known"), "--out", "out")
    assert run("compare", *("--model", tiny_bundle.path) * 2, *words).exit_code == 0
    domains = json.loads(Path("out/comparison.json").read_text())["domains"]
    assert {domain["name"]: domain["replay"] for domain in domains} == {"clinic": False, "known": True}


def test_the_comparison_of_a_run(run: Run, finished: Path) -> None:
    done = run("compare", finished)
    assert done.exit_code == 0, done.output
    assert (finished / "comparison/comparison.json").is_file()
    assert "Inconclusive." in done.stdout.splitlines()[-1]


def test_a_failed_image_gives_exit_code_1(run: Run, finished: Path, clinic: Path) -> None:
    (clinic / "images/c3.png").write_bytes(b"no image")
    done = run("compare", finished)
    assert done.exit_code == 1
    assert " 1 image failed. (written to" in done.stdout


def test_each_run_has_its_advice_and_a_failure_in_any_counts(run: Run, finished: Path, clinic: Path, lines) -> None:
    intact = finished.with_name("run-02")
    shutil.copytree(finished, intact)
    shutil.copytree(clinic, clinic.with_name("complete"))
    table = intact / "data.csv"
    table.write_text(table.read_text().replace(f"{clinic}{os.sep}", f"{clinic.with_name('complete')}{os.sep}"))
    (clinic / "images/c3.png").write_bytes(b"no image")
    done = run("compare", finished, intact)
    assert done.exit_code == 1
    advice = [line for line in done.stdout.splitlines() if line.startswith("Inconclusive.")]
    assert [" 1 image failed." in line for line in advice] == [True, False]
    items = [one for one in lines(run("compare", finished, intact, "--json").stdout) if one["event"] == "comparison"]
    assert [(one["path"], one["advice"], bool(one["reason"])) for one in items] == [
        (str(path), "inconclusive", True) for path in (finished, intact)
    ]
    assert [str(path / "comparison") in line for path, line in zip((finished, intact), advice, strict=True)] == [
        True
    ] * 2


def test_an_option_without_effect_on_a_run_is_rejected(run: Run, finished: Path) -> None:
    done = run("compare", finished, "--no-refine")
    assert done.exit_code == 2
    assert "a run or an evaluation has its own models and images" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "Give a run folder, or the old and the new model"),
        (("--model", "a", "--data", "b", "--out", "c"), "Give a run folder, or the old and the new model"),
        (("nowhere",), "nowhere does not exist. Give run folders, or folders written by 'evaluate'."),
        (("first", "second", "--out", "c"), "first does not exist. Give run folders"),
        (
            (*("--model", "a") * 3, "--data", "b", "--replay", "b", "--out", "c"),
            "more than two models get no recommendation",
        ),
        (("--model", "gone", "--model", "gone", "--data", "b", "--out", "c"), "b is not a data set"),
    ],
)
def test_an_incomplete_command_line_is_rejected(words: tuple[str, ...], expected: str, run: Run) -> None:
    done = run("compare", *words)
    assert done.exit_code == 2
    assert expected in done.stderr


def test_an_active_run_is_rejected(run: Run, finished: Path) -> None:
    ProcessStamp.create().write(finished / PROCESS_FILE)
    done = run("compare", finished)
    assert done.exit_code == 2
    assert "run-01 is still running; it is compared automatically when it ends." in done.stderr


def test_nothing_is_compared_while_one_of_the_runs_is_active(run: Run, finished: Path) -> None:
    active = finished.with_name("run-02")
    shutil.copytree(finished, active)
    ProcessStamp.create().write(active / PROCESS_FILE)
    done = run("compare", finished, active)
    assert done.exit_code == 2
    assert "run-02 is still running" in done.stderr
    assert not (finished / "comparison").exists()


def test_an_evaluation_in_a_data_set_is_repeated(run: Run, clinic: Path, tiny_bundle: BundleInfo) -> None:
    assert run("evaluate", "--model", tiny_bundle.path, "--data", clinic, "--out", "outside").exit_code == 0
    shutil.copytree("outside", clinic / "earlier")
    done = run("evaluate", "--model", tiny_bundle.path, "--data", clinic, "--out", clinic / "earlier")
    assert done.exit_code == 0, done.output
    for out, why in ((clinic / "both", "lies in the data set"), (Path("outside"), "is one of the evaluations")):
        before = (Path("outside") / "per_image.csv").read_bytes()
        refused = run("compare", "outside", clinic / "earlier", "--out", out)
        assert refused.exit_code == 2
        assert why in " ".join(refused.output.split())
        assert (Path("outside") / "per_image.csv").read_bytes() == before
    assert not (clinic / "both").exists()


def test_a_bundle_is_imported_under_a_name(run: Run, tiny_bundle: BundleInfo) -> None:
    done = run("models", "import", tiny_bundle.path, "--name", "our-clinic")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith(f"'our-clinic' is in {user_models_folder() / 'our-clinic'}; use it:")
    assert "our-clinic" in run("models", "list").stdout
    found = graphs.find_graphs(read_bundle(user_models_folder() / "our-clinic"))
    assert found is not None
    assert found.functions == ("embed", "segment")


def test_a_model_that_cannot_be_exported_is_imported(
    run: Run, tiny_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "add_graphs", lambda *_: "it branches on its input.")
    done = run("models", "import", tiny_bundle.path, "--name", "odd")
    assert done.exit_code == 0, done.output
    assert "note: predictions need torch: it branches on its input." in done.output


@pytest.mark.usefixtures("no_graphs")
def test_the_model_of_a_run_is_imported_with_its_parent(run: Run, finished: Path, lines) -> None:
    config = finished / "bundle/config.json"
    values = json.loads(config.read_text())
    values["provenance"] = {"parent": {"name": "lesion-small", "fingerprint": "ab"}}
    config.write_text(json.dumps(values))
    assert run("models", "import", finished).exit_code == 0
    assert (finished / "adopted.json").is_file()
    (line,) = (line for line in run("models", "list").stdout.splitlines() if line.startswith("tiny"))
    assert line.endswith("(from lesion-small)")
    listed = lines(run("models", "list", "--json").stdout)
    parents = {line["name"]: line["parent"] for line in listed if line["event"] == "model"}
    shipped = [path.parent.name for path in SHIPPED_FOLDER.glob("*/config.json")]
    assert parents == {**dict.fromkeys(shipped), "tiny": "lesion-small"}


@pytest.mark.usefixtures("user_folders")
def test_the_list_of_models_states_whether_one_detects_tumors(run: Run) -> None:
    statement = "No installed model detects tumors on slides."
    install_slide_models()  # demonstrations
    assert statement in run("models", "list").output
    skin = read_bundle(SKIN_TEST)
    config = skin.config.model_copy(update={"title": "Layers of the skin"})
    install_bundle(BundleInfo(skin.path, config), "own")
    assert statement not in run("models", "list").output


def test_a_folder_without_bundle_cannot_be_imported(run: Run, tmp_path: Path) -> None:
    done = run("models", "import", tmp_path)
    assert done.exit_code == 2
    assert "is not a model bundle: config.json is missing" in done.stderr


def test_two_data_sets_of_one_name_are_rejected(
    run: Run, clinic: Path, tiny_bundle: BundleInfo, tmp_path: Path
) -> None:
    shutil.copytree(clinic, tmp_path / "elsewhere/clinic")
    words = ("--data", clinic, "--replay", tmp_path / "elsewhere/clinic", "--out", "out")
    done = run("compare", *("--model", tiny_bundle.path) * 2, *words)
    assert done.exit_code != 0
    assert "two data sets have the name 'clinic'" in " ".join(done.output.split())
    assert not Path("out").exists()


@pytest.mark.usefixtures("no_graphs")
def test_an_imported_model_without_its_list_of_images_is_reported(run, tiny_bundle: BundleInfo) -> None:
    values = json.loads((tiny_bundle.path / CONFIG).read_text(encoding="utf-8"))
    values["provenance"] = {"program": "napari-melanoma", "version": "0.1"}
    write_json(tiny_bundle.path / CONFIG, values)
    done = run("models", "import", tiny_bundle.path)
    assert done.exit_code == 0, done.output
    assert "was trained with napari-melanoma but has no training_images.safetensors" in done.output
    assert "cannot be determined" in done.output
