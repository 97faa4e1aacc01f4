"""Complete recipes of the papers have the values of the rows that are reproduced."""

from __future__ import annotations

import pytest

from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.models.published_encoders import IMAGENET_MEAN, IMAGENET_STD, imagenet_normalization
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe

OF_PAPERS = {
    "classify-p1": ("P1", "a-only-resnet50"),
    "classify-p2": ("P2", "cls-resnet50"),
    "risk": ("P3", "multi-modal-paper"),
    "segment-p4": ("P4", "grid-alpha-0.35-soft-dice"),
}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_recipe_of_a_paper_is_the_row_that_is_reproduced(name: str) -> None:
    paper, row = OF_PAPERS[name]
    shipped = find_shipped_recipe(name)
    own = shipped.complete(["data"], shipped.start or "none")
    reproduced = read_paper(paper).rows[row].recipe("full", data={"datasets": ["data"]})
    start = reproduced.model.model_copy(update={"start": own.model.start})
    about = {"name": own.name, "title": own.title, "model": start}
    assert own == reproduced.model_copy(update=about)
    assert reproduced.model.start in ("none", own.model.start, *read_paper(paper).file.weights)


def test_p1_has_the_values_of_its_paper() -> None:
    recipe = find_shipped_recipe("classify-p1").complete(["x"], "imagenet")
    assert (recipe.optimiser, recipe.schedule, recipe.learning_rate, recipe.epochs) == ("adam", "constant", 1e-3, 20)
    assert (recipe.monitor, recipe.loss, recipe.model.input_size) == ("loss", "cross_entropy", 224)
    assert (recipe.augmentation.flip, recipe.augmentation.vertical_flip) == (True, True)
    assert recipe.classification is not None
    assert recipe.classification.tabular is not None
    columns = (*recipe.classification.tabular.numbers, *recipe.classification.tabular.words)
    assert [column.name for column in columns] == ["age", "site"]
    for encoder in ("resnet50", "efficientformerv2_s2"):
        assert imagenet_normalization(encoder) == (IMAGENET_MEAN, IMAGENET_STD)


def test_p2_and_p4_have_the_values_of_their_papers() -> None:
    segment = read_paper("P2").rows["unetpp"].recipe("full", data={"datasets": ["x"]})
    assert (segment.loss, segment.batch_size, segment.epochs, segment.model.input_size) == ("bce_dice", 32, 40, 256)
    assert segment.augmentation.mosaic_seam == "center"
    classify = find_shipped_recipe("classify-p2").complete(["x"], "imagenet")
    assert (classify.learning_rate, classify.loss, classify.model.input_size) == (1e-3, "bce_one", 224)
    assert (classify.model.options["encoder"], classify.data.sampling) == ("resnet50", "balanced")
    macroscopic = find_shipped_recipe("segment-p4").complete(["x"], "none")
    assert (macroscopic.schedule, macroscopic.batch_size, macroscopic.model.input_size) == ("cosine_restarts", 4, 512)


def test_the_risk_recipe_follows_the_paper() -> None:
    recipe = find_shipped_recipe("risk").complete(["cohort"], "imagenet")
    assert (recipe.optimiser, recipe.learning_rate, recipe.batch_size) == ("adam", 1e-3, 32)
    assert (recipe.epochs, recipe.patience, recipe.model.input_size) == (50, 10, 512)
    assert (recipe.model.options["encoder"], recipe.model.pixels, recipe.data.sampling) == (
        "resnet50",
        "unit",
        "balanced",
    )
    assert recipe.classification is not None
    assert recipe.classification.tabular is not None
    columns = [*recipe.classification.tabular.numbers, *recipe.classification.tabular.words]
    assert {column.name: column.encoding for column in columns} == dict.fromkeys(("age", "sex", "site"), "one_hot")
