"""The installed bundles: list, find and install them, and check that their networks can be built."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.packages import list_missing
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import PathResolver, expand_user, is_device_name
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models import (
    AUTOMATIC,
    DEFAULT_CLASSIFIER,
    DEFAULT_PHONE_CLASSIFIER,
    DEFAULT_TILE_MODEL,
    PROMPTED_BUNDLE,
)
from napari_melanoma.models.bundle import (
    CONFIG,
    WEIGHTS,
    BundleConfig,
    BundleInfo,
    check_header,
    check_weights,
    explain_missing_network,
    read_bundle,
    user_models_folder,
)
from napari_melanoma.models.graphs import find_graphs
from napari_melanoma.models.hub import PREFIX, find_hub_bundle
from napari_melanoma.models.zoo import ArchitectureTask

# Continues a sentence about a model of another task
TASK_DESCRIPTIONS = {
    "segmentation": "segments lesions, but does not predict a diagnosis",
    "classification": "predicts a diagnosis, but does not segment lesions",
    "embedding": "provides features of cells of slides, but no prediction",
}
SHIPPED_FOLDER = Path(__file__).parent / "weights"
FORMER_BUNDLES = ("skin-demo", "tile-demo")  # shipped until 2026-11-29; settings, recipes and results still name them
FORMER_NOTE = (
    "It was a demonstration, trained on synthetic slides only, and is no longer part of napari-melanoma. No model that "
    f"detects tumors on slides is included: '{DEFAULT_TILE_MODEL}' maps tissue; paint a tumor class in the Slide dock, "
    "train a model, or import one (napari-melanoma models import FOLDER). Trainings on tiles can start from "
    "'imagenet-tiles'. Stored results can still be opened."
)


def list_bundles() -> list[BundleInfo]:
    """List the usable bundles, shipped ones first; a user's bundle replaces a shipped one of the same name."""
    bundles = [*_read_usable(_list_folders(SHIPPED_FOLDER)), *_read_usable(_list_folders(user_models_folder()))]
    return list({bundle.name: bundle for bundle in bundles}.values())


def _list_folders(parent: Path) -> list[Path]:
    return [config.parent for config in sorted(parent.glob(f"*/{CONFIG}"))]


def _read_usable(folders: Iterable[Path]) -> Iterator[BundleInfo]:
    for folder in folders:
        try:
            bundle = read_bundle(folder)
            yield bundle if folder.parent == SHIPPED_FOLDER else check_usable(bundle)
        except (BundleError, ConfigError):
            continue


def _find_installed(name: str) -> BundleInfo | None:
    """Return the bundle that ``list_bundles`` lists by a name; of the shipped ones, only the folder of it is read."""
    bundles = list(_read_usable(_list_folders(user_models_folder())))
    if Path(name).name == name:
        bundles = [*_read_usable([SHIPPED_FOLDER / name]), *bundles]
    return {bundle.name: bundle for bundle in bundles}.get(name)


def list_unusable_bundles() -> dict[Path, str]:
    """Return the folders of unusable bundles in the user's model folder, with the reason."""
    reasons: dict[Path, str] = {}
    for folder in _list_folders(user_models_folder()):
        try:
            check_usable(read_bundle(folder))
        except (BundleError, ConfigError) as error:
            reasons[folder] = str(error)
    return reasons


def check_usable(bundle: BundleInfo) -> BundleInfo:
    """Return a bundle if it can be used with the installed packages; raises if not, or if its weights file is damaged.

    torch is not imported, and only the header of the weights is read. With graphs, the packages that build the network
    are not needed.
    """
    check_header(bundle.path / WEIGHTS)
    if bundle.config.tissue is not None:
        return bundle
    options = json.dumps(bundle.config.options, sort_keys=True)
    missing = explain_missing_network(bundle.config.architecture, bundle.config.plugin)
    reason = missing or explain_not_buildable(bundle.config.architecture, options)
    if not reason or find_graphs(bundle) is not None:
        return bundle
    advice = "" if missing and bundle.config.plugin else f" {_describe_versions(bundle.config.provenance)}"
    raise BundleError(f"the model '{bundle.name}' cannot be used: {reason}{advice}")


def _describe_versions(provenance: Mapping[str, Any]) -> str:
    """Describe the software that a bundle was created with, and what to install."""
    program, version = provenance.get("program"), provenance.get("version")
    versions = provenance.get("packages")
    packages = versions if isinstance(versions, dict) else {}
    named = [f"{name} {packages[name]}" for name in ("timm", "segmentation-models-pytorch") if packages.get(name)]
    created_with = [f"{program} {version}"] * bool(program and version) + named
    if not created_with:
        return (
            "It does not state the software it was created with: contact its authors, or install a later version of "
            "this plugin."
        )
    return f"It was created with {', '.join(created_with)}: install these versions or later ones."


def find_bundle(name_or_path: str, *, of_slides: bool = False) -> BundleInfo:
    """Find a bundle by its name, its folder or that of its run, or ``hf:owner/name@commit`` if it has been downloaded.

    ``of_slides``: whether an error lists slide models only.
    """
    if name_or_path.startswith(PREFIX):
        return find_hub_bundle(name_or_path)
    if installed := _find_installed(name_or_path):
        return installed
    if (user_models_folder() / name_or_path) in (unusable := list_unusable_bundles()):
        raise BundleError(unusable[user_models_folder() / name_or_path])
    path = expand_user(name_or_path)
    if path.is_dir():
        run = RunFolder(path)
        is_run = not (path / CONFIG).is_file() and (run.bundle.is_dir() or run.config.is_file())
        if is_run and not run.bundle.is_dir():
            raise BundleError(f"the run {path} has no model yet: continue it until it has finished.")
        bundle_of_path = read_bundle(run.bundle if is_run else path)
        check_header(bundle_of_path.path / WEIGHTS)
        return bundle_of_path
    suitable = [bundle.name for bundle in list_bundles() if bundle.config.is_slide_model or not of_slides]
    names = ", ".join(suitable) or "none installed"
    problem = f"there is no model named '{name_or_path}' (available: {names}), and no folder has that path."
    raise BundleError(f"{problem} {FORMER_NOTE}" if name_or_path in FORMER_BUNDLES else problem)


def find_prompted_model(selected: str) -> str:
    """Return the selected model if it segments by prompts, else the shipped one; as a name or path."""
    try:
        return selected if find_bundle(selected).config.answers_prompts else PROMPTED_BUNDLE
    except (BundleError, ConfigError):
        return PROMPTED_BUNDLE


def require_task(bundle: BundleInfo, task: ArchitectureTask) -> BundleInfo:
    """Return a bundle for a task; raises if it is for another task or for whole slides."""
    if bundle.config.encoder is not None:
        raise BundleError(
            f"'{bundle.name}' classifies whole slides from tile embeddings: use nm.analyze_slide, or napari-melanoma "
            f"slide SLIDE --out DIR --model {bundle.name}."
        )
    if bundle.config.task == task:
        return bundle
    suitable = ", ".join(model.name for model in list_photograph_models(task))
    advice = f"Select one for {task}: {suitable}." if suitable else f"No model for {task} of photographs is installed."
    raise BundleError(
        f"'{bundle.name}' is a {bundle.config.task} model: it {TASK_DESCRIPTIONS[bundle.config.task]}. {advice}"
    )


def explain_not_for_photographs(config: BundleConfig) -> str:
    """Explain why a model cannot be used for photographs, as a phrase that follows its name; "" if it can."""
    if config.is_slide_model:
        return "is a slide model"
    if config.task == "segmentation" and not config.segments_one_class:
        return f"segments {len(config.classes)} tissue classes"
    return ""


def require_photograph_model(bundle: BundleInfo, task: ArchitectureTask) -> BundleInfo:
    """Return a bundle for a task; raises if it cannot be used for photographs."""
    reason = explain_not_for_photographs(require_task(bundle, task).config)
    if not reason:
        return bundle
    suitable = ", ".join(model.name for model in list_photograph_models(task)) or "none is installed"
    raise BundleError(
        f"'{bundle.name}' {reason} ({', '.join(bundle.config.classes)}) and cannot analyze photographs of lesions. "
        f"Models for photographs: {suitable}."
    )


def list_photograph_models(task: ArchitectureTask) -> list[BundleInfo]:
    """List the bundles for photographs, without slide models and models of several tissue classes."""
    return [
        bundle
        for bundle in list_bundles()
        if bundle.config.task == task and not explain_not_for_photographs(bundle.config)
    ]


def list_default_classifiers(installed: Sequence[BundleInfo] | None = None) -> list[BundleInfo]:
    """List the default classifiers of photographs: the shipped ones, else the first installed one, if any.

    ``installed``: all classifiers of photographs, if they are listed already.
    """
    if installed is None:
        installed = list_photograph_models("classification")
    by_name = {bundle.name: bundle for bundle in installed}
    shipped = [by_name[name] for name in (DEFAULT_CLASSIFIER, DEFAULT_PHONE_CLASSIFIER) if name in by_name]
    return shipped or list(by_name.values())[:1]


def select_classifier(bundles: Sequence[BundleInfo], modality: str | None) -> BundleInfo:
    """Return the first classifier for a type of photograph, or else the first one."""
    return next((bundle for bundle in bundles if modality in bundle.config.modalities), bundles[0])


def find_classifiers(name_or_path: str) -> list[BundleInfo]:
    """Find a classifier of photographs by its name or path; the default classifiers for "" and ``AUTOMATIC``."""
    if name_or_path and name_or_path != AUTOMATIC:
        return [require_photograph_model(find_bundle(name_or_path), "classification")]
    classifiers = list_default_classifiers()
    if not classifiers:
        raise BundleError(
            'no classification model is installed. Train one (task = "classification" in a recipe) or import '
            "one: napari-melanoma models import FOLDER."
        )
    return classifiers


def find_classifier(name_or_path: str, modality: str | None = None) -> BundleInfo:
    """Find a classifier of photographs; without a name, the default one for a type of photograph."""
    return select_classifier(find_classifiers(name_or_path), modality)


def install_bundle(bundle: BundleInfo, name: str | None = None) -> BundleInfo:
    """Copy a bundle into the user's model folder under a unique name; a bundle that is already there is not copied."""
    check_usable(bundle)
    check_weights(bundle.path / WEIGHTS)
    stem = re.sub(r"[^\w.-]+", "-", name or bundle.name).strip("-.")[:60] or "model"
    stem = f"model-{stem}" if is_device_name(stem) else stem
    by_name = {installed.name: installed for installed in list_bundles()}
    unique_name, number = stem, 1
    while unique_name in by_name or (user_models_folder() / unique_name).exists():
        installed = by_name.get(unique_name)
        if installed and installed.path.parent == user_models_folder() and is_same_model(installed, bundle):
            return installed
        number += 1
        unique_name = f"{stem}-{number}"
    _check_links(bundle.path)
    config = bundle.config.model_copy(update={"name": unique_name})
    with atomic_folder(user_models_folder() / unique_name) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        write_json(folder / CONFIG, config.model_dump(mode="json"))
    return BundleInfo(user_models_folder() / unique_name, config)


def is_same_model(first: BundleInfo, second: BundleInfo) -> bool:
    """Whether two bundles have the same weights and, apart from the name, the same configuration."""
    return first.settings_digest == second.settings_digest and first.fingerprint == second.fingerprint


def _check_links(folder: Path) -> None:
    """Raise if a bundle contains a link to a file outside, which must not be copied as a part of the bundle."""
    # The cache of the hub stores the files of all revisions of a model in one folder, and each revision as links
    paths = PathResolver(folder.parent.parent if folder.parent.name == "snapshots" else folder, allow_outside=False)
    for parent, folders, files in os.walk(folder):
        outside = next((path for name in (*folders, *files) if not paths.contains(path := Path(parent, name))), None)
        if outside is not None:
            raise BundleError(f"{outside} is a link to a file outside the bundle. Replace it by the file itself.")


# Packages, and the folders of the source files that define their encoders
ENCODER_PACKAGES = {"timm": "models", "segmentation_models_pytorch": "encoders"}


@cache
def explain_not_buildable(architecture: str, options: str) -> str:
    """Explain why a network of an installed architecture cannot be built; "" if options and encoder are available.

    ``options``: as JSON.
    """
    from napari_melanoma.models.zoo import list_architectures

    try:
        config = list_architectures()[architecture].spec.config.parse(
            parse_json(options, f"the options of '{architecture}'"), f"the options of '{architecture}'"
        )
    except ConfigError as error:
        return f"its architecture '{architecture}' does not support these options: {error}"
    encoder = getattr(config, "encoder", None)
    if not isinstance(encoder, str):
        return ""
    if missing := list_missing(ENCODER_PACKAGES):
        return f"it has no graphs, and its network needs packages that are missing: pip install {' '.join(missing)}."
    if _is_encoder_in_sources(encoder):
        return ""
    return (
        f"its encoder '{encoder}' is available in neither the installed timm nor segmentation-models-pytorch: "
        "update both."
    )


def _is_encoder_in_sources(encoder: str) -> bool:
    """Whether a source file of the packages defines or quotes an encoder; True if they have no source files."""
    name = encoder.removeprefix("tu-").split(".")[0].encode()
    patterns = [b"def " + name + b"(", b'"' + name + b'"', b"'" + name + b"'"]
    files = [file for package, folder in ENCODER_PACKAGES.items() for file in _list_source_files(package, folder)]
    return not files or any(pattern in content for content in map(Path.read_bytes, files) for pattern in patterns)


def _list_source_files(package: str, folder: str) -> list[Path]:
    spec = find_spec(package)
    locations = (spec.submodule_search_locations if spec else None) or ()
    return sorted(file for location in locations for file in (Path(location) / folder).rglob("*.py"))
