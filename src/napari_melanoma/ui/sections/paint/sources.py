"""The sources of features of the Paint section; a published encoder runs in a child process, as torch needs one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import InputError
from napari_melanoma.slides.tissue_classifier.encoder_process import EncoderFeatures, EncoderProcess
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.published_features import is_published

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.encoder_files import EncoderFile
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource

LOADING, COMPUTING = "Loading the encoder ...", "Computing features ..."


@cache
def open_shipped(name: str) -> FeatureSource:
    """Open a source that is shipped once, since loading a network takes a second."""
    return open_feature_source(name)


class SourceCache:
    """Sources of features, each opened once; safe to use from several threads.

    ``encoder``: the published encoder in use; None for none.
    """

    def __init__(self, process: EncoderProcess | None = None) -> None:
        self.encoder: EncoderFile | None = None
        self._process = process or EncoderProcess()
        self._opened: tuple[EncoderFile, FeatureSource] | None = None  # the encoder that was opened last
        self._lock = Lock()  # held while it is opened

    def use(self, encoder: EncoderFile | None) -> None:
        """Use another published encoder; the process of the previous one ends, which releases its memory."""
        if encoder != self.encoder:
            self.encoder = encoder
            self._process.close()

    def open(
        self, name: str, weights: Path | None = None, device: str | None = None, *, run: RunContext | None = None
    ) -> FeatureSource:
        """Open a source by its name.

        ``weights``, ``device``: those of the encoder in use, whatever is stated. ``run``: receives progress if this
        takes long.
        """
        if not is_published(name):
            return open_shipped(name)
        with self._lock:
            encoder = self.encoder
            if encoder is None or encoder.name != name:
                raise InputError(f"the encoder '{name}' is no longer in use. Select it again under Options.")
            if self._opened is None or self._opened[0] != encoder:
                if run is not None:
                    run.report(Progress(0, None, LOADING))
                self._opened = encoder, EncoderFeatures(name, encoder.weights, self._process)
            if run is not None:
                run.report(Progress(0, None, COMPUTING))
            return self._opened[1]
