"""Keys and values of stored files that have other names now: files of earlier versions are read by these tables.

The reader of each kind of file calls ``rename_keys``; every ``Config`` does so for the tables of its class. Files are
written with the new names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = {"learn": "train", "tuning": "validation", "held_out": "test", "base": "replay"}
_MEASURED = (
    *("auc", "accuracy", "average_precision", "calibration_error", "depth_mae_mm", "depth_r"),
    *("dice", "dice_of_classes", "images", "jaccard", "loss"),
)
MEASURES = {f"tuning_{name}": f"validation_{name}" for name in _MEASURED}
# Kind of object: a subclass of Config by its name, or another object, or a row of a table. Old key: new key.
KEYS: Mapping[str, Mapping[str, str]] = {
    "BundleConfig": {"unlike": "novelty_threshold"},
    "CaseRisk": {"beside": "comparators"},
    "ClassificationConfig": {"mirrored": "test_time_augmentation"},
    "ClassifierConfig": {"mirrored": "test_time_augmentation", "unlike": "novelty_threshold"},
    "DataConfig": {
        "base": "replay",
        "base_share": "replay_share",
        "held_out_fraction": "test_fraction",
        "held_out_split": "test_split",
        "tuning_fraction": "validation_fraction",
    },
    "OperatingPoint": {"asked": "target_sensitivity", "cut": "threshold"},
    "ModelConfig": {"take": "start_weights"},
    "ResolvedSettings": {"pieces": "accumulate_batches"},
    "TrainRecipe": {"blend": "wise_ft_weight", "pieces": "accumulate_batches"},
    "comparison.domain": {"base": "replay"},
    "evaluation": {"cut": "threshold"},  # metrics.json
    "event": {**PARTS, **MEASURES, "pieces": "accumulate_batches"},  # events.jsonl of a run
    "metrics": MEASURES,  # metrics.csv of a run
    "prediction": {"likeness": "novelty"},  # of a photograph, in result.json and case files
    "risk": {"beside": "comparators", "depth_in_words": "depth_text"},  # risk.json
    "risk_patch": {"unlike": "out_of_distribution"},
    "provenance": MEASURES,  # of a model, in config.json
    "provenance.data": PARTS,
}
# Kind of object: key: old value: new value.
VALUES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "comparison": {"advice": {"take over": "activate", "cannot tell": "inconclusive"}},  # comparison.json
    "ModelConfig": {"pixels": {"usual": "standardized"}},
    "run_data": {"part": PARTS},  # data.csv of a run
}
# Kind of object: key: kind of the object that it contains. Configurations in configurations need no entry.
CONTAINED: Mapping[str, Mapping[str, str]] = {
    "BundleConfig": {"provenance": "provenance"},
    "comparison": {"domains": "comparison.domain"},
    "provenance": {"data": "provenance.data", "recipe": "TrainRecipe"},
    "risk": {"patches": "risk_patch"},
    "TrainRecipe": {"classification": "ClassificationConfig", "data": "DataConfig", "model": "ModelConfig"},
}
# Kind of object: a key that only earlier versions wrote: values that they did not write, and that have another default.
ADDED: Mapping[str, tuple[str, Mapping[str, Any]]] = {"DataConfig": ("held_out_split", {"validation_split": ""})}
RENAMED = KEYS.keys() | VALUES.keys() | CONTAINED.keys()


def rename_keys(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of a stored file with the names of this version."""
    keys = KEYS.get(kind, {})
    renamed = {keys.get(key, key): value for key, value in values.items()}
    key_of_earlier, added = ADDED.get(kind, ("", {}))
    if key_of_earlier in values:
        renamed = {**added, **renamed}
    for key, words in VALUES.get(kind, {}).items():
        if isinstance(renamed.get(key), str):
            renamed[key] = words.get(renamed[key], renamed[key])
    for key, inner in CONTAINED.get(kind, {}).items():
        contained = renamed.get(key)
        if isinstance(contained, dict):
            renamed[key] = rename_keys(inner, contained)
        elif isinstance(contained, list):
            renamed[key] = [rename_keys(inner, item) if isinstance(item, dict) else item for item in contained]
    return renamed
