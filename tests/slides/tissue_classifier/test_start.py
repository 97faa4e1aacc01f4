"""Fits that start from the strokes of a model, weights of own strokes, and strokes learned in other stains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_phantoms import CLASSES, draw_phantom
from painted_tables import Table

from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.stain import look_up_colors
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.classifier import (
    TissueFitOptions,
    fit_tissue_classifier,
    gather_cells,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.fitting import (
    OWN_STROKES,
    SCANNED,
    STARTED,
    VARIANT,
    TrainingCells,
    fit_classifier,
    validate,
)
from napari_melanoma.slides.tissue_classifier.stain_variants import VariantFeatures, color_table
from napari_melanoma.slides.tissue_classifier.start import STORED_CELLS, Start, load_start, store_cells

SOURCE = TextureFeatures()
WEAKER: dict[str, Any] = {"kinds": ("logistic",), "strength": 0.003}
TEXTURE = TissueFitOptions(sources=("texture",), kinds=("logistic",))


def own_and_started(own_strokes: int, own_classes: tuple[int, ...]) -> TrainingCells:
    """Some strokes of some classes of one slide, and those of all classes of a model."""
    table = Table(strokes=6, seed=1).build()
    chosen = np.isin(table.labels, own_classes) & (table.stroke // 3 < own_strokes)
    started = replace(Table(strokes=8).build(), origin=np.full(3 * 8 * 12, STARTED, np.int8))
    return table.select(chosen).add(started)


@pytest.mark.parametrize("own", [(1, (0,)), (2, (0, 1)), (6, (0, 1, 2))])
def test_a_few_own_strokes_weigh_as_much_as_those_of_the_model(own: tuple[int, tuple[int, ...]]) -> None:
    cells = own_and_started(*own)
    weights = cells.weights
    of_class = np.bincount(cells.labels, weights=weights)
    np.testing.assert_allclose(of_class, of_class.mean())  # equal for all classes
    for label in own[1]:
        share = weights[(cells.labels == label) & (cells.origin == SCANNED)].sum() / of_class[label]
        assert share == pytest.approx(own[0] / (own[0] + OWN_STROKES))
    assert weights.sum() == pytest.approx(len(cells.strokes))


def test_the_accuracy_is_that_of_own_strokes() -> None:
    cells = own_and_started(6, (0, 1))
    (validation,) = validate(cells, ("logistic",))
    assert validation.strokes == (6, 6, 0)
    assert validation.accuracy is not None
    assert np.isnan(validation.recall[cells.classes[2]])
    assert "fat" not in " ".join(validation.warnings)


def test_one_class_of_own_strokes_gives_all_classes() -> None:
    cells = own_and_started(1, (2,))
    assert fit_classifier(cells, "logistic").classes == cells.classes
    (validation,) = validate(cells, ("logistic",))
    assert validation.strokes == (0, 0, 1)


def test_classes_and_strokes_are_kept_apart_when_cells_are_added() -> None:
    first, second = Table(classes=2).build(), replace(Table().build(), classes=("fat", "dermis", "nevus"), strength=0.1)
    joined = first.add(second)
    assert joined.classes == ("dermis", "epidermis", "fat", "nevus")
    assert len(joined.strokes) == len(first.strokes) + len(second.strokes)
    assert len(np.unique(joined.slide)) == 2
    names = np.array(joined.classes)[joined.labels][len(first) :]
    assert (names == np.array(second.classes)[second.labels]).all()
    assert joined.strength == 0.1


def test_variants_belong_to_the_strokes_and_are_not_judged() -> None:
    scanned = Table().build()
    cells = scanned.add_variants([replace(scanned, features=scanned.features + 1)] * 2)
    assert (np.bincount(cells.stroke) == 3 * np.bincount(scanned.stroke)).all()
    assert (cells.origin == VARIANT).sum() == 2 * len(scanned)
    np.testing.assert_array_equal(cells.own.features, scanned.features)
    (validation,) = validate(cells, ("logistic",))
    assert validation.cells == tuple(np.bincount(scanned.labels).tolist())
    thin = cells.thin(4)
    for origin in (SCANNED, VARIANT):
        assert (np.bincount(thin.stroke[thin.origin == origin]) == 4).all()


@pytest.mark.slow
def test_drawn_stains_darken_tissue_and_leave_glass() -> None:
    white, pink = np.array([[[255, 255, 255]]], np.uint8), np.array([[[220, 150, 190]]], np.uint8)
    tables = [color_table(number) for number in range(8)]
    assert all(look_up_colors(white, table).min() >= 240 for table in tables)
    found = np.array([look_up_colors(pink, table)[0, 0] for table in tables], int)
    assert len(np.unique(found, axis=0)) == len(tables)
    assert found.sum(axis=1).min() < pink.sum() < found.sum(axis=1).max()
    np.testing.assert_array_equal(tables[3], color_table(3))
    assert VariantFeatures(SOURCE, 0).fingerprint != VariantFeatures(SOURCE, 1).fingerprint != SOURCE.fingerprint


@pytest.mark.slow
def test_a_fit_starts_from_a_bundle(tmp_path: Path) -> None:
    phantom = draw_phantom(tmp_path / "skin.tif")
    painted = phantom.painted()
    whole = fit_tissue_classifier([painted], TEXTURE.model_copy(update={"stain_variants": 1, "strength": 0.5}))
    bundle = write_tissue_bundle(tmp_path / "model", whole, licence="CC0-1.0", notes="# Source\n\nA phantom.")
    assert bundle.config.licence == "CC0-1.0"
    assert (bundle.path / "README.md").read_text().endswith("# Source\n\nA phantom.\n")
    start = load_start(str(bundle.path))
    assert start.cells.strength == pytest.approx(0.5)
    assert start.cells.classes == whole.classes
    assert np.bincount(start.cells.stroke).max() <= 2 * STORED_CELLS

    alone = replace(painted, strokes=tuple(one for one in painted.strokes if one.class_name == "tumor"))
    options = TissueFitOptions(start_from=str(bundle.path), kinds=("logistic",))
    started = fit_tissue_classifier([alone], options)
    assert set(started.classes) == set(whole.classes) == set(CLASSES)
    assert (started.start, started.source) == ("model", "texture")
    assert started.roles == {**whole.roles}
    assert started.colors == {**start.colors, "tumor": started.colors["tumor"]}
    cells = gather_cells([painted], SOURCE, ())[0]
    predicted = np.array(started.classes)[started.predict(cells.features).argmax(axis=1)]
    assert (predicted == np.array(cells.classes)[cells.labels]).mean() > 0.9
    assert started.cells.strength == pytest.approx(0.5)
    weaker = fit_tissue_classifier(
        [alone], TissueFitOptions(**{**options.model_dump(include={"start_from"}), **WEAKER})
    )
    assert weaker.cells.strength == WEAKER["strength"]
    saved = write_tissue_bundle(tmp_path / "started", started)
    assert "`model`" in (saved.path / "README.md").read_text()

    with pytest.raises(InputError, match="'texture', but selected are imagenet"):
        fit_tissue_classifier([alone], options.model_copy(update={"sources": ("imagenet",)}))
    with pytest.raises(InputError, match="second class"):
        fit_tissue_classifier([alone], TEXTURE)


def test_a_model_without_strokes_is_refused() -> None:
    with pytest.raises(InputError, match="contains no strokes"):
        load_start("imagenet-tiles")


def test_a_stroke_that_the_model_was_fitted_on_is_not_used_twice() -> None:
    """Otherwise it is known to the classifier when it is left out, and the accuracy on noise is perfect."""
    own = Table(strokes=6, apart=0.0).build()
    values = {name.removeprefix("cells."): array for name, array in store_cells(own).items()}
    stored = replace(
        own.thin(STORED_CELLS),
        features=values["features"].astype(np.float32) * values["step"] + values["low"],
        origin=np.full(len(values["labels"]), STARTED, np.int8),
    )
    start = Start("model", stored, SOURCE.name, SOURCE.fingerprint, values["low"], values["step"])
    joined = start.join(own, SOURCE)
    assert len(joined) == len(own)
    (alone,), (together,) = (validate(cells, ("logistic",)) for cells in (own, joined))
    assert together.accuracy == alone.accuracy
    others = own.select(own.stroke < 3)
    assert len(start.join(others, SOURCE).strokes) == len(own.strokes)


def test_other_strokes_of_a_slide_that_the_model_was_fitted_on_are_left_out_with_it() -> None:
    fitted = Table(strokes=8).build()
    fitted = replace(fitted, slide=(fitted.stroke % 2).astype(np.intp))
    values = {name.removeprefix("cells."): array for name, array in store_cells(fitted).items()}
    stored = replace(
        fitted.thin(STORED_CELLS),
        features=values["features"].astype(np.float32) * values["step"] + values["low"],
        origin=np.full(len(values["labels"]), STARTED, np.int8),
    )
    start = Start("model", stored, SOURCE.name, SOURCE.fingerprint, values["low"], values["step"])
    again = fitted.select((fitted.slide == 1) & (fitted.stroke < 6))
    joined = start.join(replace(again, slide=np.zeros_like(again.slide)), SOURCE)
    started = joined.select(joined.origin == STARTED)
    assert len(started.strokes) == len(fitted.strokes) - len(again.strokes)
    assert {int(slide): int(np.unique(started.stroke[started.slide == slide]).size) for slide in (0, 1)} == {
        0: np.unique(fitted.stroke[fitted.slide == 1]).size - len(again.strokes),
        1: np.unique(fitted.stroke[fitted.slide == 0]).size,
    }
