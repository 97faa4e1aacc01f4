"""What the model of skin learns from: dead tumour is melanoma, and naevi are told apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions, SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import plan_slide


@pytest.fixture
def skin(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    import skin_demo_data

    yield skin_demo_data
    for name in ("skin_demo_data", "slide_demo_data", "depth_slides"):
        sys.modules.pop(name)


def test_dead_tumour_is_melanoma_and_no_naevus(skin: ModuleType) -> None:
    plan = plan_slide(
        SlidePhantomConfig(
            seed=5,
            size=(2048, 3072),
            mpp=1.0,
            lesions=SlideLesionOptions(malignant=1, benign=0, breslow_mm=1.2, necrosis=0.3),
            section=SectionOptions(depth_mm=1.6),
        )
    )
    box = Box(0, 0, 256, 384)
    dead = label_pixels(plan.sections[0], box, 8.0) == TissueKind.NECROSIS
    labels = skin.skin_truth(plan, 8.0, box)
    assert dead.sum() > 100
    assert (labels[dead] == skin.MELANOMA).all()
    assert not (labels == skin.NAEVUS).any()
    assert set(np.unique(labels)) == {0, 1, 2, skin.MELANOMA}
