"""The roles of data sets: found by name or images, refused where these contradict, said where one is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.request import fill_roles


def test_sets_find_their_roles(sets: Path) -> None:
    folders, notices = fill_roles(read_paper("P4"), [str(sets)], ("D", "M"))
    assert {role: [folder.name for folder in found] for role, found in folders.items()} == {
        "M": ["dermofit"],
        "D": ["isic2017"],
    }
    assert [text.split(" ")[0] for text in notices] == ["ph2", "unknown"]
    named, _ = fill_roles(read_paper("P4"), [f"m={sets / 'unknown'}", f"D={sets / 'ph2'}"], ("D", "M"))
    assert [folder.name for found in named.values() for folder in found] == ["unknown", "ph2"]
    assert "HAM10000" in fill_roles(read_paper("P2"), [f"D={sets / 'unknown'}"], ("HAM10000",))[0]


def test_a_name_that_the_images_contradict_is_refused(tmp_path: Path, spots: Callable[..., Path]) -> None:
    folder = spots(tmp_path / "all/isic2017", 2)
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "modality": "macroscopic"} for row in rows])
    with pytest.raises(InputError, match=r"called like the dermoscopic set isic2017, but images of it are macroscopic"):
        fill_roles(read_paper("P4"), [str(folder)], ("D",))
    spots(tmp_path / "all/isic2018", 2)
    found, notices = fill_roles(read_paper("P4"), [str(tmp_path / "all")], ("D",))
    assert [path.name for path in found["D"]] == ["isic2018"]
    assert "isic2017 is left out" in notices[0]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            [],
            "(?s)needs macroscopic.*Get .*Dermofit.* from http.*licence.*data import.*M=DATASET.*In their place: PAD",
        ),
        (["X=nowhere"], "no role 'X'"),
        (["M=nowhere"], "no folder nowhere"),
        (["{sets}/unknown"], "which role .*unknown plays.*--data M="),
        (["{sets}/unknown/images"], "holds none"),
    ],
)
def test_what_is_missing_is_said(sets: Path, named: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fill_roles(read_paper("P4"), [text.format(sets=sets) for text in named], ("M", "D"))


def test_a_control_takes_the_images_of_another_role_where_it_has_none_of_its_own(
    tmp_path: Path, spots: Callable[..., Path]
) -> None:
    paper, own, other = read_paper("P3"), spots(tmp_path / "own"), spots(tmp_path / "other")
    assert fill_roles(paper, (f"S={own}",), ("C",))[0] == {"S": (own,), "C": (own,)}
    assert fill_roles(paper, (f"S={own}", f"C={other}"), ("C", "S"))[0] == {"S": (own,), "C": (other,)}
    with pytest.raises(InputError, match="P3 needs 3 mm x 3 mm patches"):
        fill_roles(paper, (), ("C",))
