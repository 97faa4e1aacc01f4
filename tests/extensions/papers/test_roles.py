"""Roles of data sets: found by name or images, contradictions and missing roles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import fill_roles
from napari_melanoma.io.results import read_table, write_table


def test_data_sets_are_assigned_to_roles(sets: Path) -> None:
    folders, notices = fill_roles(read_paper("P4"), [str(sets)], ("D", "M"))
    assert {role: [folder.name for folder in found] for role, found in folders.items()} == {
        "M": ["dermofit"],
        "D": ["isic2017"],
    }
    assert [text.split(" ")[0] for text in notices] == ["ph2", "unknown"]
    named, _ = fill_roles(read_paper("P4"), [f"m={sets / 'unknown'}", f"D={sets / 'ph2'}"], ("D", "M"))
    assert [folder.name for found in named.values() for folder in found] == ["unknown", "ph2"]
    assert "HAM10000" in fill_roles(read_paper("P2"), [f"D={sets / 'unknown'}"], ("HAM10000",))[0]


def test_a_name_that_contradicts_the_images_is_rejected(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = spots(tmp_path / "all/isic2017", 2)
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "modality": "macroscopic"} for row in rows])
    with pytest.raises(
        InputError,
        match="of the data set isic2017, whose images are dermoscopic, but contains images that are macroscopic",
    ):
        fill_roles(read_paper("P4"), [str(folder)], ("D",))
    spots(tmp_path / "all/isic2018", 2)
    found, notices = fill_roles(read_paper("P4"), [str(tmp_path / "all")], ("D",))
    assert [path.name for path in found["D"]] == ["isic2018"]
    assert "isic2017 is left out" in notices[0]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            [],
            "(?s)needs macroscopic.*Get .*Dermofit.* from http.*license.*data import.*M=DATASET.*Alternatives: PAD",
        ),
        (["X=nowhere"], "no role 'X'"),
        (["M=nowhere"], "the folder nowhere does not exist"),
        (["{sets}/unknown"], "the role of .*unknown in P4 is unknown.*--data M="),
        (["{sets}/unknown/images"], "holds none"),
    ],
)
def test_missing_roles_are_described(sets: Path, named: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_roles(read_paper("P4"), [text.format(sets=sets) for text in named], ("M", "D"))


def test_a_control_uses_the_images_of_another_role_by_default(tmp_path: Path, spots: Callable[..., Path]) -> None:
    paper, own, other = read_paper("P3"), spots(tmp_path / "own"), spots(tmp_path / "other")
    assert fill_roles(paper, (f"S={own}",), ("C",))[0] == {"S": (own,), "C": (own,)}
    assert fill_roles(paper, (f"S={own}", f"C={other}"), ("C", "S"))[0] == {"S": (own,), "C": (other,)}
    with pytest.raises(InputError, match="P3 needs 3 mm x 3 mm patches"):
        fill_roles(paper, (), ("C",))
