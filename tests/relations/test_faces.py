"""The command line and the Python API are two faces of one function: same defaults, checks, files, numbers, messages.

The subjects are all commands: a new one fails until it has a counterpart here, or the reason why it has none.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import world
from product_commands import read_outputs, walk_commands
from typer.testing import CliRunner

import napari_melanoma as nm
from napari_melanoma.cli import app, data, evaluate, slide, train
from napari_melanoma.cli.options import find_config_options
from napari_melanoma.core.errors import MelanomaError


class Faces(NamedTuple):
    """Words of a command, and a function that calls the Python API for the same result.

    ``only``: files that are written by the command alone, since it processes many inputs.
    """

    words: str
    call: Callable[[], Any]
    slow: bool = False
    only: frozenset[str] = frozenset()


TISSUE = {"sources": ("texture",), "kinds": ("logistic",)}
FACES: dict[str, Faces] = {
    "lesion": Faces(
        "lesion one/images/x00.png --out out",
        lambda: nm.segment("one/images/x00.png").save("out/x00"),
        only=frozenset({"out/results.csv"}),
    ),
    "slide": Faces(
        "slide slides/a.tif --out out --model tissue",
        lambda: nm.analyze_slide("slides/a.tif", "out/a", Path("tissue")),
        slow=True,
        only=frozenset({"out/slides.csv"}),
    ),
    "tissue fit": Faces(
        "tissue fit slides/a.tif --out out --sources texture --kind logistic",
        lambda: nm.fit_tissue_classifier("slides/a.tif", folder="out", options=TISSUE),
        slow=True,
    ),
    "evaluate": Faces(
        "evaluate --model lesion-small --data one --out out",
        lambda: nm.evaluate("lesion-small", "one", "out"),
        slow=True,
    ),
    "compare": Faces(
        "compare --model lesion-small --model melanoma-copy --model lesion-small --data one --out out",
        lambda: nm.compare(["lesion-small", "lesion-click", "lesion-small"], "one", "out"),
        slow=True,
    ),
    "models export": Faces(
        "models export lesion-small --out out/lesion.onnx",
        lambda: nm.export("lesion-small", "onnx", "out/lesion.onnx"),
        slow=True,
    ),
    "data import": Faces(
        "data import folder one/images --out out --no-patients",
        lambda: nm.import_dataset("folder", "one/images", "out", no_patients=True),
    ),
    "data import-masks": Faces(
        "data import-masks one/masks --images one/images --out out --no-patients",
        lambda: nm.import_masks("one/masks", "one/images", "out", no_patients=True),
    ),
    "data export": Faces("data export coco one --out out", lambda: nm.export_dataset("one", "coco", "out")),
    "data split": Faces("data split one --test 0.4 --val 0.3", lambda: nm.DataSet("one").split(test=0.4, val=0.3)),
    "data check": Faces("data check one", lambda: nm.DataSet("one").check()),
    "data duplicates": Faces("data duplicates one two", lambda: nm.find_duplicates(["one", "two"])),
}
FACES["compare"] = FACES["compare"]._replace(words=FACES["compare"].words.replace("melanoma-copy", "lesion-click"))
# Commands whose function of the API has the same options, without the cost of a call in two forms
SAME_OPTIONS = {
    "adapt": (nm.adapt, train.adapt),
    "data split": (nm.DataSet.split, data.split),
    "data import": (nm.import_dataset, data.import_),
    "data import-masks": (nm.import_masks, data.import_masks),
    "data export": (nm.export_dataset, data.export),
    "evaluate": (nm.evaluate, evaluate.evaluate),
    "compare": (nm.compare, evaluate.compare),
    "slide": (nm.analyze_slide, slide.slide),
    "tissue fit": (nm.fit_tissue_classifier, slide.fit_tissue),
}
WITHOUT = {
    "open": "opens a window",
    "demo": "opens a window",
    "doctor": "checks the machine",
    "train": "both call the function of the recipe; training with both takes minutes",
    "tissue train": "a recipe that is made from strokes",
    "tissue apply": "slide with a model of tissue",
    "case": "nm.read_case only reads",
    "models list": "nm.list_models returns the same list",
    "models show": "nm.load_model returns the same model",
    "models pull": "needs the hub",
    "models push": "needs the hub",
    **dict.fromkeys(("adapt",), "both call the function of its options; see SAME_OPTIONS"),
    **dict.fromkeys(
        (
            *("export", "report", "models import", "recipes list", "recipes write", "runs list", "runs pause"),
            *("runs unpause", "runs cancel", "phantom lesion", "phantom slide", "phantom cohort"),
            *("studies readings", "studies biomarkers", "data sources", "data merge", "data tiles", "data slides"),
            *("data features", "data report", "data harmonize"),
        ),
        "has no function of the API",
    ),
    **dict.fromkeys(
        (*("risk", "reproduce", "audit", "data baseline", "studies relation"),),
        "a command of an extension",
    ),
}


def test_every_command_is_a_subject() -> None:
    assert {name for name, _ in walk_commands()} == {*FACES, *WITHOUT}


@pytest.mark.parametrize("name", SAME_OPTIONS)
def test_defaults_have_one_home(name: str) -> None:
    """A default of the API that is a value of its own would differ after the next change of the configuration."""
    function, command = SAME_OPTIONS[name]
    defaults = {
        option.name.rpartition("__")[2]: option.default
        for config in find_config_options(command).values()
        for option in config.list_options()
    }
    stated = {
        parameter.name: parameter.default
        for parameter in signature(function).parameters.values()
        if parameter.default not in (Parameter.empty, None, "", ())
    }
    assert {key: stated[key] for key in stated.keys() & defaults.keys()} == {
        key: defaults[key] for key in stated.keys() & defaults.keys()
    }


def list_texts(found: Any) -> set[str]:
    """Return the sentences of a result of the Python API: its faults, notes, warnings and failures."""
    texts = []
    for name in ("faults", "notes", "warnings", "failed"):
        values = getattr(found, name, ())
        items = values.values() if isinstance(values, dict) else values
        texts += [one[1] if isinstance(one, tuple) else one for one in items]
    return {text.rstrip(".") for text in texts}


def run_command(words: str) -> set[str]:
    """Run a command; return the sentences that it reports."""
    result = CliRunner().invoke(app, [*words.split(), "--json"])
    assert result.exit_code in (0, 1), result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    reported = [line for line in lines if line["event"] in ("note", "warning", "fault", "failed", "question")]
    texts = [line.get(key) for line in reported for key in ("error", "warning", "question", "message")]
    return {text.rstrip(".") for text in (*texts, *lines[-1].get("warnings", ())) if text}


def call_function(call: Callable[[], Any]) -> set[str]:
    """Call a function of the API; return the sentences of its result."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        return list_texts(call()) | {str(one.message).rstrip(".") for one in issued}


def prepare(folder: Path, words: str, request: pytest.FixtureRequest) -> None:
    """Write the files that a command names."""
    folder.mkdir()
    for number, dataset in enumerate(("one", "two")):
        if dataset in words:
            world.write_dataset(folder / dataset, 8, first=20 * number)
    if "slides" in words:
        (folder / "slides").symlink_to(request.getfixturevalue("slides")[0].parent)
    if "--model tissue" in words:
        (folder / "tissue").symlink_to(request.getfixturevalue("tissue_model"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if one.slow else ()) for name, one in FACES.items()]
)
def test_both_faces_write_and_report_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    faces, texts, files = FACES[name], [], []
    for face in ("command", "function"):
        folder = tmp_path / face
        prepare(folder, faces.words, request)
        monkeypatch.chdir(folder)
        texts.append(run_command(faces.words) if face == "command" else call_function(faces.call))
        names = {str(folder): ""}
        files.append({path: one for path, one in read_outputs(folder, names).items() if path not in faces.only})
    assert files[1].keys() == files[0].keys()
    for path, content in files[0].items():
        assert files[1][path] == content, path
    assert texts[1] == texts[0]


REFUSED: dict[str, Faces] = {
    "age": Faces("lesion one/images/x00.png --out out --age 300", lambda: nm.classify("one/images/x00.png", age=300)),
    "sex": Faces("lesion one/images/x00.png --out out --sex foo", lambda: nm.classify("one/images/x00.png", sex="foo")),
    "share": Faces("data split one --test 2", lambda: nm.DataSet("one").split(test=2)),
    "folds": Faces("data split one --folds 1", lambda: nm.DataSet("one").split(folds=1)),
    "classes": Faces(
        "data import-masks one/masks --images one/images --out out --no-patients --values keep",
        lambda: nm.import_masks("one/masks", "one/images", "out", no_patients=True, values="keep"),
    ),
    "patients": Faces(
        "data import folder one/images --out out", lambda: nm.import_dataset("folder", "one/images", "out")
    ),
    "source": Faces("data import none one/images --out out", lambda: nm.import_dataset("none", "one/images", "out")),
    "format": Faces("data export none one --out out", lambda: nm.export_dataset("one", "none", "out")),
    "twice": Faces("data duplicates one one", lambda: nm.find_duplicates(["one", "one"])),
    "across": Faces("data duplicates one --across", lambda: nm.find_duplicates("one", across=True)),
    "inside": Faces(
        "evaluate --model lesion-small --data one --out one/out", lambda: nm.evaluate("lesion-small", "one", "one/out")
    ),
    "one model": Faces(
        "evaluate --model lesion-none --data one --out out", lambda: nm.evaluate("lesion-none", "one", "out")
    ),
    "threshold": Faces(
        "evaluate --model lesion-small --data one --out out --threshold 2",
        lambda: nm.evaluate("lesion-small", "one", "out", threshold=2),
    ),
    "segmenter": Faces(
        "evaluate --model melanoma-small --data one --out out --segmenter lesion-phone",
        lambda: nm.evaluate("melanoma-small", "one", "out", segmenter="lesion-phone"),
    ),
    "split": Faces(
        "evaluate --model lesion-small --data one --out out --split none",
        lambda: nm.evaluate("lesion-small", "one", "out", split="none"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_faces_refuse_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    faces = REFUSED[name]
    prepare(tmp_path / "files", faces.words, request)
    monkeypatch.chdir(tmp_path / "files")
    before = read_outputs(Path())
    result = CliRunner().invoke(app, faces.words.split())
    assert result.exit_code == 2, result.output
    with pytest.raises(MelanomaError):
        faces.call()
    assert read_outputs(Path()) == before
