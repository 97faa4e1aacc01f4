"""Bundles of classifiers without a network, which the worker without a network answers for."""

from __future__ import annotations

import json


def add_classifier(folder, name="melanoma-test", fields=("age", "sex"), weights=b"none", **more):
    """Put a bundle into a folder of models; the weights are none, as nothing here reads them."""
    words = {"sex": ("female", "male"), "site": ("back", "head/neck"), "smoker": ("daily", "never")}
    numbers = [{"name": field} for field in fields if field not in words]
    found = [{"name": field, "words": words[field]} for field in fields if field in words]
    config = {
        "name": name,
        "title": f"Title of {name}",
        "task": "classification",
        "architecture": "image_tabular",
        "classes": ["other", "melanoma"],
        "classifier": {"positive": "melanoma"},
        "tabular": {"numbers": numbers, "words": found},
        **more,
    }
    bundle = folder / name
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / "model.safetensors").write_bytes(weights)
    (bundle / "README.md").write_text(f"# {name}\n\nA card.\n")
    return bundle
