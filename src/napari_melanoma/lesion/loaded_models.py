"""Models for photographs that are loaded once per process, and progress messages while they load."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter

DEFAULT_S = 4.0  # usual time to import torch and load a small model, if none was measured yet
LATE_FACTOR = 1.25  # loading is reported as slow after this multiple of the usual time
LONGEST_S = 600.0  # longer times have other causes, such as a suspended laptop


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
    """Report that a model is being loaded.

    The first time in a process, which includes the import of torch, the report states how long this took last time.
    """
    if "torch" in sys.modules:  # the slow part is done
        run.report(Progress(0, None, "Loading the model"))
        yield
        return
    expected = _last_loading_seconds()
    usual = f"about {max(1, round(expected)):d} s"
    run.report(Progress(0, None, f"Loading the model, {usual}"))
    late = Timer(
        LATE_FACTOR * max(1.0, expected),
        run.report,
        [Progress(0, None, f"Loading the model takes longer than usual ({usual})")],
    )
    late.daemon = True
    late.start()
    started = time.monotonic()
    try:
        yield
    finally:
        late.cancel()
        late.join()  # otherwise it might report after later messages
    seconds = time.monotonic() - started
    if "torch" in sys.modules and seconds < LONGEST_S:
        with suppress(SaveError):  # the estimate is optional
            write_json(_timing_file(), {"seconds": round(seconds, 2)})


def _last_loading_seconds() -> float:
    """Return how long loading took last time, or the default."""
    try:
        seconds = read_json(_timing_file())["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_S
    return float(seconds) if isinstance(seconds, int | float) and 0 < seconds < LONGEST_S else DEFAULT_S


def _timing_file() -> Path:
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "loading.json"


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
