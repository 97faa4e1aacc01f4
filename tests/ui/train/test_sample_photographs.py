"""The photograph beside a sample prediction is the one that was predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.paths import ids_to_file_names
from napari_melanoma.ui.train.samples import find_photograph


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = ["part,image_id,domain,image"]
    rows += [f"validation,{name},one,/{place}.png" for place, name in (("lower", "a"), ("upper", "A"), ("own", "same"))]
    rows += ["validation,same,two,/other.png", "train,a,two,/learn.png"]
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def test_ids_that_differ_only_in_case(run: Path) -> None:
    names = ids_to_file_names(["a", "A"])
    assert [find_photograph(run, names[text]) for text in ("a", "A")] == [Path("/lower.png"), Path("/upper.png")]


def test_ids_that_two_data_sets_have(run: Path) -> None:
    names = ids_to_file_names(["one/same", "two/same"])
    assert [find_photograph(run, name) for name in names.values()] == [Path("/own.png"), Path("/other.png")]
    assert find_photograph(run, "same") is None  # either of the two
