"""File names made from image ids."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.paths import (
    MAX_NAME_BYTES,
    MAX_NAME_LENGTH,
    describe_invalid_id,
    free_name,
    id_to_file_name,
    ids_to_file_names,
    is_device_name,
    safe_name,
)

NAMES = [
    ("ISIC_0000001", "ISIC_0000001"),
    ("Foto Müller (2)", "Foto_Muller_2"),
    ("../../etc/passwd", "etc_passwd"),
    ("=cmd|' /C calc'!A0", "cmd_C_calc_A0"),
    ("-rf", "rf"),
    (".hidden", "hidden"),
    ("con", "image-con"),
    ("LPT1.old", "image-LPT1.old"),
    ("皮膚", "image"),
    ("", "image"),
    ("a" * 300, "a" * MAX_NAME_LENGTH),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_safe_name(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@given(st.text(max_size=100))
def test_a_safe_name_is_unchanged(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= MAX_NAME_LENGTH + len("image-")
    assert safe.isascii()
    assert not set(safe) & set('<>:"/\\|?*@ ')
    assert not {safe[0], safe[-1]} & set(".-_")
    assert safe_name(safe) == safe


def test_a_name_is_numbered_until_it_is_free() -> None:
    assert free_name("a", set()) == "a"
    assert free_name("A", {"a", "a-2"}) == "A-3"


UNFIT = [
    ("../a", "/"),
    ("a\\b", "\\"),
    ("..", "dots"),
    ("", "empty"),
    ("a\0b", "U+0000"),
    ("a\nb", "U+000A"),
    ("a\u202eb", "U+202E"),
    ("é" * 200, "255 bytes"),
]
KEPT = ["ISIC_0000001", "läsion 1", "皮膚", "a.b-c", "image (2)", "=x", "A'"]
MAPPED = [
    *(
        "con",
        "LPT1.old",
        "com¹",
        "NUL ",
        "a.",
        "a ",
        ".a",
        "-a",
        " a",
        "a:b",
        "a*",
        "a|b",
        "e\u0301",
        "é" * 90,
        "x" * 151,
    ),
    *("../../../victim/important", "a\u202eb", "~x", "a\ud800", f"x~{'0' * 24}"),
]
names = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("./\\:ab~0éE\u0301 -\u202e"), max_size=12),
    st.sampled_from([*KEPT, *MAPPED]),
)


@pytest.mark.parametrize(("text", "message"), UNFIT)
def test_an_id_that_names_a_path_or_cannot_be_shown_is_none(text: str, message: str) -> None:
    assert message in describe_invalid_id(text)


@pytest.mark.parametrize("text", KEPT)
def test_an_id_that_is_a_file_name_stays(text: str) -> None:
    assert id_to_file_name(text) == text
    assert not describe_invalid_id(text)


@pytest.mark.parametrize("text", MAPPED, ids=ascii)
def test_another_id_is_mapped(text: str) -> None:
    assert id_to_file_name(text) != text
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,70}~[0-9a-f]{24}", id_to_file_name(text))


@settings(max_examples=50)
@given(names)
def test_a_file_name_is_one_everywhere(text: str) -> None:
    name = id_to_file_name(text)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('<>:"/\\|?*\0\n\r\t')
    assert not is_device_name(name)
    assert name[0] not in ".- "
    assert name[-1] not in ". "
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in name)
    assert (PureWindowsPath("C:/x") / f"{name}.png").parent == PureWindowsPath("C:/x")
    assert (PurePosixPath("/x") / f"{name}.png").parent == PurePosixPath("/x")


@given(names, names)
def test_different_ids_have_different_file_names(one: str, two: str) -> None:
    assert (id_to_file_name(one) == id_to_file_name(two)) == (one == two)


@settings(max_examples=50)
@given(st.lists(names | st.sampled_from(["a", "A", "é", "e\u0301", "É", "ß", "ss", "SS"]), max_size=12))
def test_ids_have_distinct_names_on_every_file_system(texts: list[str]) -> None:
    found = ids_to_file_names(texts)
    assert found.keys() == set(texts)
    assert len({normalize_name(name) for name in found.values()}) == len(found)
