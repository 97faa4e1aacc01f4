"""A classifier is trained on the decisive input only; a resumed run equals an uninterrupted one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.models.bundle import REFERENCE_FILE, BundleInfo, load_network, read_bundle, read_reference
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
Change = Callable[..., TrainRecipe]
Stop = Callable[..., None]
Draw = Callable[..., Path]
Events = Callable[[Path], list[dict[str, Any]]]
Once = Callable[[TrainRecipe], BundleInfo]
SIDE = 64
TABLE = {"numbers": [{"name": "age"}], "words": [{"name": "sex"}]}


def learnt(recipe: TrainRecipe, out: Path) -> BundleInfo:
    bundle = train(recipe, out, resume=False, run=RunContext())
    assert bundle is not None
    return bundle


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that trains a recipe once for all tests, which only read its result."""
    known: dict[str, BundleInfo] = {}

    def found(recipe: TrainRecipe) -> BundleInfo:
        key = recipe.model_dump_json()
        if key not in known:
            known[key] = learnt(recipe, tmp_path_factory.mktemp("once") / "run")
        return known[key]

    return found


@pytest.fixture(scope="session")
def many_by_image(draw_classes: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough lesions for a training; their color determines the class."""
    return draw_classes(tmp_path_factory.mktemp("classes") / "many-by-image", "image")


@pytest.mark.parametrize(("columns", "knows"), [(TABLE, True), (None, False)], ids=["with the table", "without"])
def test_information_of_the_table_requires_the_table(
    columns: dict[str, Any] | None,
    knows: bool,
    class_recipe: TrainRecipe,
    by_table: Path,
    tmp_path: Path,
    change: Change,
) -> None:
    recipe = change(
        class_recipe,
        epochs=4,
        learning_rate=2e-2,
        data={"datasets": [str(by_table)]},
        classification={"tabular": columns},
        model={
            "options": {**class_recipe.model.options, "fusion": "concat" if columns else "none", "tabular_dropout": 0.0}
        },
    )
    auc = learnt(recipe, tmp_path / "run").config.provenance["validation_auc"]
    assert auc > 0.95 if knows else auc < 0.8


def test_information_of_the_image_requires_no_table(
    class_recipe: TrainRecipe, draw_classes: Draw, tmp_path: Path, change: Change, events: Events
) -> None:
    recipe = change(
        class_recipe,
        epochs=6,
        samples=2,
        learning_rate=1e-2,
        data={"datasets": [str(draw_classes(tmp_path / "data", "image", 48))]},
        classification={"tabular": None},
        model={"options": {**class_recipe.model.options, "fusion": "none"}},
    )
    bundle = learnt(recipe, tmp_path / "run")
    config = bundle.config
    assert config.provenance["validation_auc"] > 0.95
    assert (config.task, config.classes, config.tabular) == ("classification", ("other", "melanoma"), None)
    assert config.classifier is not None
    assert config.classifier.operating_point is not None
    assert config.classifier.operating_point.sensitivity >= 0.9
    assert config.classifier.novelty_threshold is not None
    assert config.classifier.type_threshold is not None
    assert config.classifier.shift_margin == 0.3
    last = events(tmp_path / "run")[-1]
    assert last["kind"] == "finished"
    assert last["validation_auc"] == config.provenance["validation_auc"]
    assert {path.suffix for path in (tmp_path / "run" / "samples" / "epoch-0001").iterdir()} == {".png"}


def test_the_last_epoch_can_be_kept_without_early_stopping(
    class_recipe: TrainRecipe, many_by_image: Path, tmp_path: Path, change: Change, events: Events
) -> None:
    import torch

    data = {"datasets": [str(many_by_image)]}
    recipe = change(class_recipe, keep="last", epochs=4, patience=1, samples=0, learning_rate=0.1, data=data)
    bundle = learnt(recipe, tmp_path / "run")
    epochs = [event["best"] for event in events(tmp_path / "run") if event["kind"] == "epoch"]
    assert len(epochs) == 4
    assert not epochs[-1]  # another epoch is the best
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in load_network(bundle).state_dict().items():
        torch.testing.assert_close(value, last[f"network.{name}"], rtol=1e-2, atol=1e-2, check_dtype=False)


def test_resuming_a_finished_run_repeats_its_calibration(
    class_recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    recipe = change(class_recipe, epochs=1, ema_decay=0.9)
    bundle = learnt(recipe, tmp_path / "run")
    config, reference, weights = ((bundle.path / name) for name in ("config.json", REFERENCE_FILE, "model.safetensors"))
    contents = reference.read_bytes(), weights.read_bytes()
    earlier = bundle.config.model_dump(mode="json")
    earlier["classifier"] |= {"temperature": 9.0, "type_threshold": None}
    config.write_text(json.dumps(earlier))
    reference.unlink()
    again = train(recipe, tmp_path / "run", resume=True, run=RunContext())
    assert again is not None
    assert read_bundle(bundle.path).config.classifier == bundle.config.classifier
    assert (reference.read_bytes(), weights.read_bytes()) == contents


def test_a_bundle_stores_reference_cases(class_recipe: TrainRecipe, tmp_path: Path, change: Change, once: Once) -> None:
    bundle = learnt(change(class_recipe, classification={"neighbours": True}), tmp_path / "run")
    reference = read_reference(bundle)
    assert reference is not None
    parts = bundle.config.provenance["data"]
    assert len(reference.labels) == parts["validation"]
    assert len(reference.embedded_ids) == len(reference.embeddings) == parts["train"]
    found = read_reference(once(class_recipe))
    assert found is not None
    assert found.embedded_ids == ()


@pytest.fixture(scope="session")
def elsewhere(draw_classes: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lesions of another domain, whose labels are not used."""
    folder = draw_classes(tmp_path_factory.mktemp("classes") / "elsewhere", "image", 24, seed=1)
    for path in (folder / "images").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) * 0.6).astype(np.uint8)).save(path)
    text = (folder / "dataset.csv").read_text().splitlines()
    place = text[0].split(",").index("melanoma")
    kept = [",".join(cell for number, cell in enumerate(row.split(",")) if number != place) for row in text]
    (folder / "dataset.csv").write_text("\n".join(kept) + "\n")
    return folder


METHODS = ("adversarial", "coral", "fourier", "adabn", "pseudo_labels")


@pytest.mark.parametrize("method", METHODS)
def test_unlabeled_domain_changes_the_trained_weights(
    method: str, class_recipe: TrainRecipe, elsewhere: Path, tmp_path: Path, change: Change, once: Once
) -> None:
    recipe = change(class_recipe, epochs=1, samples=0)
    adaptation = {"method": method, "to": [str(elsewhere)], "strength": 0.5, "sure": 0.51}
    plain = once(recipe)
    adapted = learnt(change(recipe, classification={"adaptation": adaptation}), tmp_path / "adapted")
    before, after = (load_network(info).state_dict() for info in (plain, adapted))
    assert before.keys() == after.keys(), "an adversary is not a part of the model"
    changed = {name for name, value in before.items() if not bool((value == after[name]).all())}
    if method == "adabn":
        assert changed
        assert all("running_" in name or "num_batches" in name for name in changed)
    else:
        assert any(name.startswith("encoder.") and "running_" not in name for name in changed)
    assert plain.config.provenance["data"]["train"] == adapted.config.provenance["data"]["train"]


def test_labels_of_the_target_domain_are_not_used(
    class_recipe: TrainRecipe, draw_classes: Draw, tmp_path: Path, change: Change
) -> None:
    weights = []
    for place, swapped in (("as they are", {}), ("swapped", {"0": "1", "1": "0"})):
        folder = draw_classes(tmp_path / place / "elsewhere", "image", 24, seed=1)
        rows = read_table(folder / "dataset.csv")
        rows = [{**row, "melanoma": swapped.get(row["melanoma"], row["melanoma"])} for row in rows]
        assert {row["melanoma"] for row in rows} == {"0", "1"}
        write_table(folder / "dataset.csv", rows)
        adaptation = {"method": "adversarial", "to": [str(folder)], "strength": 0.5}
        recipe = change(class_recipe, epochs=1, samples=0, classification={"adaptation": adaptation})
        weights.append(load_network(learnt(recipe, tmp_path / place / "run")).state_dict())
    assert all(bool((value == weights[1][name]).all()) for name, value in weights[0].items())


def test_a_resumed_run_equals_an_uninterrupted_one(
    class_recipe: TrainRecipe, elsewhere: Path, tmp_path: Path, change: Change, stop: Stop
) -> None:
    """With averaged weights, MixUp, hidden fields, gradient accumulation and an adversary."""
    classification = {
        "mixup": 0.4,
        "cutmix": 0.4,
        "drop_form": 0.3,
        "drop_field": 0.2,
        "class_weight": "balanced",
        "label_smoothing": 0.1,
        "adaptation": {"method": "adversarial", "to": [str(elsewhere)]},
    }
    much = {"ema_decay": 0.9, "accumulate_batches": 2, "loss": "focal", "data": {"sampling": "balanced"}}
    recipe = change(class_recipe, samples=0, classification=classification, **much)
    whole = learnt(recipe, tmp_path / "whole")
    stop(recipe, tmp_path / "parts", "Epoch 2 of 2, ")
    parts = train(recipe, tmp_path / "parts", resume=True, run=RunContext())
    assert parts is not None
    assert parts.config.classifier == whole.config.classifier
    assert parts.config.tabular == whole.config.tabular
    assert (parts.path / REFERENCE_FILE).read_bytes() == (whole.path / REFERENCE_FILE).read_bytes()
    weights = [load_network(read_bundle(tmp_path / name / "bundle")).state_dict() for name in ("whole", "parts")]
    assert all(bool((value == weights[1][name]).all()) for name, value in weights[0].items())


def test_a_frozen_encoder_is_not_changed(class_recipe: TrainRecipe, tmp_path: Path, change: Change, once: Once) -> None:
    first = once(class_recipe)
    frozen = change(class_recipe, model={"start": str(first.path)}, classification={"freeze_encoder": True})
    before, after = (load_network(info).state_dict() for info in (first, learnt(frozen, tmp_path / "frozen")))
    same = {name: bool((value == after[name]).all()) for name, value in before.items()}
    assert all(same[name] for name in same if name.startswith("encoder."))
    assert not all(same.values())


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "one class": (
        {"target": "modality", "positive": "dermoscopic"},
        "expected two or more. Add images of another class",
    ),
    "no such column": ({"target": "invasive"}, "no table has a column 'invasive'"),
    "positive is no class": ({"positive": "nevus"}, "classification.positive is 'nevus'"),
    "nothing to be sure of": (
        {"adaptation": {"method": "pseudo_labels"}},
        "pseudo_labels needs two domains, found one",
    ),
    "nothing to adapt to": ({"adaptation": {"method": "adabn"}}, "adabn needs two domains, found one"),
    "a column that gives it away": ({"tabular": {"numbers": [], "words": [{"name": "melanoma"}]}}, "melanoma"),
}


@pytest.mark.parametrize(("values", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_data_without_usable_labels_are_rejected(
    values: dict[str, Any], fault: str, class_recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    with pytest.raises((DataSetError, RunError), match=fault):
        train(change(class_recipe, classification=values), tmp_path / "run", resume=False, run=RunContext())


def test_rows_without_a_class_or_a_lesion_are_excluded_and_counted(
    class_recipe: TrainRecipe, draw_classes: Draw, tmp_path: Path, change: Change, events: Events
) -> None:
    data = draw_classes(tmp_path / "holes", "image", 40)
    text = (data / "dataset.csv").read_text().splitlines()
    place = text[0].split(",").index("melanoma")
    for line in (1, 2):
        cells = text[line].split(",")
        cells[place] = ""
        text[line] = ",".join(cells)
    (data / "dataset.csv").write_text("\n".join(text) + "\n")
    write_mask(data / "masks" / "c005.png", np.zeros((SIDE, SIDE), bool))
    bundle = learnt(change(class_recipe, epochs=1, data={"datasets": [str(data)]}), tmp_path / "run")
    notices = [event["message"] for event in events(tmp_path / "run") if event["kind"] == "notice"]
    unanswered = next(
        message for message in notices if message.startswith("2 of 40 images have no class and are excluded")
    )
    assert all(name in unanswered for name in ("c000", "c001"))
    assert any("1 of 38 images have an empty mask and are excluded: c005" in message for message in notices)
    assert bundle.config.provenance["data"]["train"] + bundle.config.provenance["data"]["validation"] == 37
