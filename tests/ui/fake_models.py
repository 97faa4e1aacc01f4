"""Model bundles without a network, for which the fake worker predicts."""

from __future__ import annotations

import json


def add_classifier(folder, name="melanoma-test", fields=("age", "sex"), weights=b"none", **more):
    """Create a bundle in a folder of models; its weights file is valid but has no tensors."""
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
    header = json.dumps({"__metadata__": {"made": weights.decode()}}).encode()
    (bundle / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (bundle / "README.md").write_text(f"# {name}\n\nA card.\n")
    return bundle


def make_models(home, monkeypatch):
    """Return a folder of models with one classifier, which is the default."""
    folder = home / "models"
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.user_models_folder", lambda: folder)
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.DEFAULT_CLASSIFIER", "melanoma-test")
    add_classifier(folder)
    return folder


def add_risk(folder, name="risk-test", *, phantom=True):
    """Create a bundle that predicts metastasis; with ``phantom``, one trained on synthetic patients."""
    words = [{"name": "sex", "words": ["female", "male"]}, {"name": "site", "words": ["back", "head/neck"]}]
    tabular = {"numbers": [{"name": "age"}, {"name": "depth_mm"}], "words": words}
    about = {"classifier": {"positive": "metastasis"}, "classes": ["other", "metastasis"], "modalities": ["slide"]}
    bundle = add_classifier(folder, name, weights=name.encode(), tabular=tabular, architecture="biomarker", **about)
    (bundle / "comparators.json").write_text(json.dumps({"phantom": phantom}))
    return bundle


def make_risk_prediction(probability, row, options, depth_mm=0.91, fingerprint=None):
    """The content of ``risk.json`` as written by the command line."""
    from napari_melanoma.models.installed_bundles import find_bundle

    known = {name: row[name] for name in ("age", "sex", "site") if name in row}
    adjacent = {
        "breslow": ("Breslow thickness alone", 0.3),
        "image": ("Image alone", 0.6),
        "clark": ("Clark level alone", None),
    }
    patches = [([32, 32, 128, 128], "deepest place"), ([256, 160, 128, 128], "another depth")]
    return {
        "verdict": f"metastasis {probability:.2f} (0.20 to 0.44): inconclusive at 90 % coverage",
        "positive": "metastasis",
        "probability": probability,
        "interval": [0.2, 0.44],
        "shares": {"image": 0.12, "depth": -0.05, "patient": 0.001},
        "without": 0.22,
        "comparators": {
            key: {"title": title, "probability": value, "why": "" if value else "clark is unknown"}
            for key, (title, value) in adjacent.items()
        },
        "patches": [{"what": what, "box": box, "probability": probability, "depth_mm": 1.6} for box, what in patches],
        "known": known if depth_mm is None else {**known, "depth_mm": f"{depth_mm:g}"},
        "missing": [name for name in ("age", "sex", "site") if name not in row],
        "warnings": ["the thickness may be more"],
        "validity": {"valid": True},
        "depth": {"mm": depth_mm, "source": "automatic" if depth_mm else "predicted"},
        "model": {"name": "risk-test", "fingerprint": fingerprint or find_bundle(options["model"]).fingerprint},
        "options": {"model": "risk-test", "patch_mm": 0.064},  # boxes of 128 pixels of 0.5 micrometers
    }
