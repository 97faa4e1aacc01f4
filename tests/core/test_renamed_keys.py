"""Files of earlier versions are read with the names of this one."""

from __future__ import annotations

from typing import Any

import pytest

from napari_melanoma.core.config import Config
from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.core.renamed_keys import KEYS, VALUES, rename_keys

from ..test_configs import all_configs

CONFIGS: dict[str, type[Config]] = {config.__name__: config for config in all_configs()}


def test_configurations_read_old_keys() -> None:
    measured = {"sensitivity": 0.9, "sensitivity_interval": (0.8, 1.0), "specificity": 0.5}
    old: dict[str, Any] = {"asked": 0.9, "cut": 0.3, **measured, "specificity_interval": (0.4, 0.6)}
    point = OperatingPoint.parse(old, "a stored model")
    assert (point.target_sensitivity, point.threshold) == (0.9, 0.3)
    assert {"asked", "cut"}.isdisjoint(point.model_dump())


@pytest.mark.parametrize("name", sorted({*KEYS, *VALUES} & CONFIGS.keys()))
def test_each_old_key_of_a_configuration_has_a_field(name: str) -> None:
    fields = CONFIGS[name].model_fields.keys()
    assert KEYS.get(name, {}).keys().isdisjoint(fields)
    assert fields >= {*KEYS.get(name, {}).values(), *VALUES.get(name, {})}


def test_other_objects_read_old_keys() -> None:
    assert rename_keys("evaluation", {"task": "classification", "cut": 0.3}) == {
        "task": "classification",
        "threshold": 0.3,
    }
    assert rename_keys("prediction", {"likeness": None}) == {"novelty": None}
