"""A pseudonym is the same for the same patient, tells nothing without the key, and is never given twice over."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import ConfigError, SaveError
from napari_melanoma.privacy import pseudonyms
from napari_melanoma.privacy.pseudonyms import (
    PROJECT_VARIABLE,
    SHAPE,
    find_key_file,
    is_pseudonym,
    project_name,
    pseudonym,
)


@pytest.fixture(autouse=True)
def _own_key(user_folders: Path) -> None:
    """Each test has a key of its own."""


NAMES = st.text(st.characters(codec="utf-8"), max_size=30)


def test_it_looks_as_described_and_carries_nothing_of_the_name() -> None:
    name = pseudonym("Miller^Anna")
    assert SHAPE.fullmatch(name)
    assert name.startswith("P-")
    assert pseudonym(" Miller^Anna\n") == name != pseudonym("miller^anna")


def test_kinds_and_projects_have_nothing_in_common() -> None:
    assert len({pseudonym("1", kind)[2:] for kind in pseudonyms.PREFIXES}) == len(pseudonyms.PREFIXES)
    assert pseudonym("1", project="one") != pseudonym("1", project="two")


@pytest.mark.parametrize("empty", ["", "  ", "\t\n"])
def test_what_is_not_known_stays_not_known(empty: str) -> None:
    assert pseudonym(empty) == ""


def test_renaming_twice_changes_nothing_and_other_ids_of_that_shape_are_renamed() -> None:
    ours, theirs = pseudonym("1"), pseudonym("1", project="another")
    assert pseudonym(ours) == ours
    assert is_pseudonym(ours)
    assert not is_pseudonym(theirs)
    assert pseudonym(theirs) != theirs
    assert not is_pseudonym(ours, kind="lesion")


@settings(max_examples=40)
@given(one=NAMES, other=NAMES)
def test_two_names_are_two_people(one: str, other: str) -> None:
    same = unicodedata.normalize("NFC", one).strip() == unicodedata.normalize("NFC", other).strip()
    assert (pseudonym(one) == pseudonym(other)) == same
    assert pseudonym(pseudonym(one)) == pseudonym(one)


def test_a_name_of_letters_that_no_encoding_has_is_a_name_too() -> None:
    assert pseudonym("Meier\udce4") != pseudonym("Meier")


def test_processes_that_ask_at_the_same_moment_make_one_key() -> None:
    asked = (
        "from napari_melanoma.privacy.pseudonyms import pseudonym as p; import sys; "
        "sys.stdout.write(p('1', project='a'))"
    )
    asking = [subprocess.Popen([sys.executable, "-c", asked], stdout=subprocess.PIPE) for _ in range(3)]
    assert {process.communicate()[0].decode() for process in asking} == {pseudonym("1", project="a")}


def test_many_patients_have_as_many_names() -> None:
    assert len({pseudonym(f"PAT_{number}") for number in range(5_000)}) == 5_000


def test_another_process_gives_the_same_and_only_the_user_reads_the_key() -> None:
    name = pseudonym("PAT_1516")
    asked = (
        "from napari_melanoma.privacy.pseudonyms import pseudonym; import sys; sys.stdout.write(pseudonym('PAT_1516'))"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=os.environ)
    assert told.stdout == name
    if sys.platform != "win32":
        assert find_key_file().stat().st_mode & 0o077 == 0


def test_a_lost_key_gives_other_names() -> None:
    before = pseudonym("1")
    find_key_file().unlink()
    pseudonyms._read_key.cache_clear()
    assert pseudonym("1") != before


def test_the_project_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_name() == "default"
    monkeypatch.setenv(PROJECT_VARIABLE, "depth study")
    assert find_key_file().name == "depth study.key"
    assert pseudonym("1") == pseudonym("1", project="depth study") != pseudonym("1", project="default")


@pytest.mark.parametrize("name", ["../other", "", "a/b", "x" * 65, "CON", "nul.txt", "com1"])
def test_a_project_must_have_a_name_for_a_file(name: str) -> None:
    with pytest.raises(ConfigError, match=PROJECT_VARIABLE):
        find_key_file(name)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="patient, lesion"):
        pseudonym("1", "doctor")


@pytest.mark.parametrize("content", [b"", b"12ab\n", b"no key\n", b"\xff\xfe"])
def test_a_damaged_key_is_never_replaced(content: bytes) -> None:
    find_key_file().parent.mkdir(parents=True)
    find_key_file().write_bytes(content)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        pseudonym("1")
    assert find_key_file().read_bytes() == content


def test_no_place_for_a_key() -> None:
    find_key_file().parent.parent.mkdir(parents=True)
    find_key_file().parent.write_text("a file in the way")
    with pytest.raises(SaveError, match="cannot write"):
        pseudonym("1")
