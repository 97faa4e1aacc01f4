"""The old model of a comparison: the very weights that a run started from, and which images they may have learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import EVERY_SPLIT
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.registry import DEFAULT_BUNDLE, find_bundle, list_bundles
from napari_melanoma.training.recipe import DataConfig, TrainRecipe
from napari_melanoma.workflows.training_start import settled_in

USUAL = {name: DataConfig.model_fields[name].default for name in ("split", "held_out_fraction")}


def parent_bundle(recipe: TrainRecipe, folder: RunFolder) -> BundleInfo:
    """Find the model that a run started from, or the shipped one where it started from none.

    With these weights, under whatever name they are now.
    """
    settled = settled_in(folder)
    parent = settled.whole if settled else None
    try:
        found = find_bundle(recipe.model.start if recipe.model.starts_from_bundle else DEFAULT_BUNDLE)
    except BundleError as error:
        same = parent and _with_weights(parent.fingerprint)
        if not same:
            raise BundleError(f"the model that {folder.path.name} started from has gone: {error}") from error
        return same
    if parent is None or found.fingerprint == parent.fingerprint:
        return found
    same = _with_weights(parent.fingerprint)
    if same is None:
        raise BundleError(
            f"'{found.name}' is another model than the one that {folder.path.name} started from (weights "
            f"{found.fingerprint[:12]} now, {parent.fingerprint[:12]} then). Put the old one back under a name of its "
            "own, or compare with this one: napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
        )
    return same


def may_have_learnt(old: BundleInfo, samples: Sequence[Sample], rules: DataConfig) -> tuple[str, ...]:
    """Say which of the images that judge the old model, or one that it comes from, may have learnt.

    A sentence, or none.
    """
    learnt: dict[str, int] = {}
    for provenance in _ancestors(old):
        domains, split, fraction = _learnt(provenance)
        for domain in domains:
            count = sum(s.domain == domain and _may_be_in(s, split, fraction, rules) for s in samples)
            learnt[domain] = max(count, learnt.get(domain, 0))
    found = {domain: count for domain, count in sorted(learnt.items()) if count}
    if not found:
        return ()
    named = ", ".join(f"{count} of {domain}" for domain, count in found.items())
    return (
        f"The old model may have learnt some of these images, which flatters it: {named}. "
        "It was trained on data of this name with other splits.",
    )


def _may_be_in(sample: Sample, split: str, fraction: float, rules: DataConfig) -> bool:
    """Say whether a model that learnt from a split, and held a share of the rows without one out, may know an image."""
    if split == EVERY_SPLIT:
        return True
    return sample.split == split if sample.split else fraction < rules.held_out_fraction


def _learnt(provenance: Mapping[str, Any]) -> tuple[list[str], str, float]:
    """Give the names of the data sets that a model has learnt from, the split, and the share that was held out."""
    recipe = provenance.get("recipe") or {}
    rules = {**USUAL, **(recipe.get("data") or {})}
    named = [Path(name).name for key in ("datasets", "base") for name in rules.get(key) or ()]
    return sorted({*named, *(provenance.get("train_images") or {})}), rules["split"], rules["held_out_fraction"]


def _ancestors(bundle: BundleInfo) -> Iterator[Mapping[str, Any]]:
    """Give the provenance of a model, and those of the models that it comes from, as far as they are installed."""
    seen: set[str] = set()
    current: BundleInfo | None = bundle
    while current is not None:
        provenance = current.config.provenance
        yield provenance
        fingerprint = str((provenance.get("parent") or {}).get("fingerprint", ""))
        current = None if fingerprint in seen or not fingerprint else _with_weights(fingerprint)
        seen.add(fingerprint)


def _with_weights(fingerprint: str) -> BundleInfo | None:
    """Find an installed model by its weights."""
    for bundle in list_bundles():
        try:
            if bundle.fingerprint == fingerprint:
                return bundle
        except OSError:  # its weights were removed
            continue
    return None
