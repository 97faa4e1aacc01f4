"""How a run chooses its precision."""

from __future__ import annotations

import pytest

from napari_melanoma.training import engine
from napari_melanoma.training.recipe import TrainRecipe


@pytest.mark.parametrize(
    ("wish", "has_bf16", "expected"),
    [
        ("fp32", True, "32-true"),
        ("bf16", False, "bf16-mixed"),
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
    ],
)
def test_precision(
    wish: str, has_bf16: bool, expected: str, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: has_bf16)
    assert engine.choose_precision(recipe.model_copy(update={"precision": wish})) == expected


def test_processor_is_asked() -> None:
    assert engine.cpu_has_bf16() in (True, False)
