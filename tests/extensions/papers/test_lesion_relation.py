"""The files of a relation of lesions."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.errors import SaveError
from napari_melanoma.extensions.papers.lesion_relation import FIGURE, LesionRelation, write_relation


def test_a_figure_that_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    (tmp_path / FIGURE).mkdir(parents=True)
    with pytest.raises(SaveError, match=FIGURE):
        write_relation(LesionRelation((), {}, included=False, failed={}), tmp_path)
