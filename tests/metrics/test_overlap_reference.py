"""The metrics of ISIC 2018 compared with those of TorchMetrics, image by image, including the thresholded Jaccard."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.overlap import TJA_LIMIT, overlap_metrics

SHAPE = (9, 11)


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks with any agreement with their references, which contain lesion and skin."""
    random = np.random.default_rng(3)
    found = []
    for flipped in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0):
        for share in (0.2, 0.5, 0.8):
            reference = random.random(SHAPE) < share
            found.append((reference ^ (random.random(SHAPE) < flipped), reference))
    return found


def test_torchmetrics_agrees_for_each_image() -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    masks, references = (torch.tensor(np.stack(both)).int() for both in zip(*pairs(), strict=True))
    given = {"multidim_average": "samplewise"}
    jaccard = np.array(
        [classification.binary_jaccard_index(*both).item() for both in zip(masks, references, strict=True)]
    )
    expected = {
        "JA": jaccard,
        "TJA": np.where(jaccard >= TJA_LIMIT, jaccard, 0.0),
        "DI": classification.binary_f1_score(masks, references, **given).numpy(),
        "AC": classification.binary_accuracy(masks, references, **given).numpy(),
        "SE": classification.binary_recall(masks, references, **given).numpy(),
        "SP": classification.binary_specificity(masks, references, **given).numpy(),
    }
    found = [overlap_metrics(mask, reference) for mask, reference in pairs()]
    assert {name: np.array([item[name] for item in found]) for name in found[0]} == {
        name: pytest.approx(values, abs=1e-6) for name, values in expected.items()
    }
    assert 0 < np.count_nonzero(expected["TJA"]) < len(found), "the threshold falls between them"
