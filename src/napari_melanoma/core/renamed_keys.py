"""Keys and values of stored files that have other names now: files of earlier versions are read by these tables.

The reader of each kind of file calls ``rename_keys``; every ``Config`` does so for the tables of its class. Files are
written with the new names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Kind of object: a subclass of Config by its name, or another object, or a row of a table. Old key: new key.
KEYS: Mapping[str, Mapping[str, str]] = {
    "BundleConfig": {"unlike": "novelty_threshold"},
    "ClassifierConfig": {"unlike": "novelty_threshold"},
    "OperatingPoint": {"asked": "target_sensitivity", "cut": "threshold"},
    "evaluation": {"cut": "threshold"},  # metrics.json
    "prediction": {"likeness": "novelty"},  # of a photograph, in result.json and case files
}
# Kind of object: key: old value: new value.
VALUES: Mapping[str, Mapping[str, Mapping[str, str]]] = {}
RENAMED = KEYS.keys() | VALUES.keys()


def rename_keys(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of a stored file with the names of this version."""
    keys = KEYS.get(kind, {})
    renamed = {keys.get(key, key): value for key, value in values.items()}
    for key, words in VALUES.get(kind, {}).items():
        if isinstance(renamed.get(key), str):
            renamed[key] = words.get(renamed[key], renamed[key])
    return renamed
