"""A pseudonym is constant for a patient, cannot be reversed without the key, and is not renamed again."""

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
    """Use a separate key for each test."""


NAMES = st.text(st.characters(codec="utf-8"), max_size=30)


def test_the_format_of_a_pseudonym() -> None:
    name = pseudonym("Miller^Anna")
    assert SHAPE.fullmatch(name)
    assert name.startswith("P-")
    assert pseudonym(" Miller^Anna\n") == name != pseudonym("miller^anna")


def test_kinds_and_projects_have_different_pseudonyms() -> None:
    assert len({pseudonym("1", kind)[2:] for kind in pseudonyms.PREFIXES}) == len(pseudonyms.PREFIXES)
    assert pseudonym("1", project="one") != pseudonym("1", project="two")


@pytest.mark.parametrize("empty", ["", "  ", "\t\n"])
def test_an_empty_name_stays_empty(empty: str) -> None:
    assert pseudonym(empty) == ""


def test_own_pseudonyms_are_kept_and_similar_ids_are_renamed() -> None:
    own, reference = pseudonym("1"), pseudonym("1", project="another")
    assert pseudonym(own) == own
    assert is_pseudonym(own)
    assert not is_pseudonym(reference)
    assert pseudonym(reference) != reference
    assert not is_pseudonym(own, kind="lesion")


@settings(max_examples=40)
@given(one=NAMES, other=NAMES)
def test_different_names_have_different_pseudonyms(one: str, other: str) -> None:
    same = unicodedata.normalize("NFC", one).strip() == unicodedata.normalize("NFC", other).strip()
    assert (pseudonym(one) == pseudonym(other)) == same
    assert pseudonym(pseudonym(one)) == pseudonym(one)


def test_a_name_that_cannot_be_encoded() -> None:
    assert pseudonym("Meier\udce4") != pseudonym("Meier")


def test_concurrent_processes_create_one_key() -> None:
    script = (
        "from napari_melanoma.privacy.pseudonyms import pseudonym as p; import sys; "
        "sys.stdout.write(p('1', project='a'))"
    )
    asking = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    assert {process.communicate()[0].decode() for process in asking} == {pseudonym("1", project="a")}


def test_another_process_gives_the_same_pseudonym_and_the_key_is_private() -> None:
    name = pseudonym("PAT_1516")
    script = (
        "from napari_melanoma.privacy.pseudonyms import pseudonym; import sys; sys.stdout.write(pseudonym('PAT_1516'))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout == name
    if sys.platform != "win32":
        assert find_key_file().stat().st_mode & 0o077 == 0


def test_another_key_gives_other_pseudonyms() -> None:
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
def test_a_project_needs_a_valid_file_name(name: str) -> None:
    with pytest.raises(ConfigError, match=PROJECT_VARIABLE):
        find_key_file(name)


def test_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(ConfigError, match="patient, lesion"):
        pseudonym("1", "doctor")


@pytest.mark.parametrize("content", [b"", b"12ab\n", b"no key\n", b"\xff\xfe"])
def test_a_damaged_key_is_never_replaced(content: bytes) -> None:
    find_key_file().parent.mkdir(parents=True)
    find_key_file().write_bytes(content)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        pseudonym("1")
    assert find_key_file().read_bytes() == content


def test_an_unwritable_key_file() -> None:
    find_key_file().parent.parent.mkdir(parents=True)
    find_key_file().parent.write_text("a file in the way")
    with pytest.raises(SaveError, match="cannot write"):
        pseudonym("1")
