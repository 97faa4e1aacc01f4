"""The document of the points that are counted on a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.session.document import DocumentKind, SlideFolder, Stored

if TYPE_CHECKING:
    from napari_melanoma.slides.counts import CountedPoints, StoredCounts


def _read(location: SlideFolder) -> Stored[CountedPoints]:
    from napari_melanoma.slides.counts import read_counts

    return _convert(read_counts(location.folder))


def _write(location: SlideFolder, points: CountedPoints, stored: Stored[CountedPoints]) -> Stored[CountedPoints]:
    from napari_melanoma.slides.counts import save_counts

    return _convert(save_counts(location.folder, location.slide, points, stored.stamp, stored.unread))


def _convert(counts: StoredCounts) -> Stored[CountedPoints]:
    return Stored(counts.points, counts.stamp, counts.notes, counts.features)


COUNT_DOCUMENT: DocumentKind[CountedPoints] = DocumentKind("counts", (), _read, _write)
