"""Models for photographs that are loaded once per process, and progress messages while they load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress, RunContext

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter

LOADING = "Loading the model"
LOADING_TORCH = "Loading the model and PyTorch: 5 to 20 s, once"  # measured; ONNX Runtime needs 0.3 s
SLOW_S = 1.0


def load_segmenter(model: str) -> Segmenter:
    """Return a segmentation model. It is loaded once, and again if its files change."""
    from napari_melanoma.models.installed_bundles import find_bundle, require_photograph_model

    folder = require_photograph_model(find_bundle(model), "segmentation").path
    return _segmenter(folder, _file_stamps(folder))


def load_classifier(model: str) -> Classifier:
    """Return a classifier with fitted calibration. It is loaded once, and again if its files change."""
    from napari_melanoma.models.installed_bundles import find_classifier

    folder = find_classifier(model).path
    return _classifier(folder, _file_stamps(folder))


def load_classifier_folder(folder: Path) -> Classifier:
    """Return the classifier in a folder, for photographs or patches; loaded once, and again if its files change."""
    return _classifier(folder, _file_stamps(folder))


@contextmanager
def report_loading(run: RunContext) -> Iterator[None]:
    """Report that a model is being loaded and, if this lasts because torch is being imported, how long that takes."""
    run.report(Progress(0, None, LOADING))
    if "torch" in sys.modules:
        yield
        return
    late = Timer(SLOW_S, _report_torch, [run])
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()
        late.join()  # otherwise it might report after later messages


def _report_torch(run: RunContext) -> None:
    if "torch" in sys.modules:
        run.report(Progress(0, None, LOADING_TORCH))


@lru_cache(maxsize=2)  # so that alternating between two models stays fast
def _segmenter(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Segmenter:
    """Load the bundle in a folder; ``stamps`` change with its files, so that it is then loaded again."""
    from napari_melanoma.lesion.prompting import load_any_segmenter
    from napari_melanoma.models.bundle import read_bundle

    return load_any_segmenter(read_bundle(folder))


@lru_cache(maxsize=2)
def _classifier(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Classifier:
    """Load the classifier in a folder, and fit its calibration; ``stamps`` change with its files."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.models.bundle import read_bundle

    classifier = Classifier.load(read_bundle(folder))
    classifier.calibration.fit_all()
    return classifier


def _file_stamps(folder: Path) -> tuple[tuple[int, ...], ...]:
    """Return inode, modification time in ns and size of each file of a bundle."""
    from napari_melanoma.models.bundle import CONFIG, REFERENCE_FILE, WEIGHTS

    files = [path.stat() for name in (CONFIG, WEIGHTS, REFERENCE_FILE) if (path := folder / name).is_file()]
    return tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in files)
