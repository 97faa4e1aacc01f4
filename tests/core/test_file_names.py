"""Names of images are file names everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.file_names import LONGEST, free_name, safe_name

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
    ("a" * 300, "a" * LONGEST),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_safe_name(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@given(st.text(max_size=100))
def test_a_safe_name_is_safe_and_stays_what_it_is(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= LONGEST + len("image-")
    assert safe.isascii()
    assert not set(safe) & set('<>:"/\\|?*@ ')
    assert not {safe[0], safe[-1]} & set(".-_")
    assert safe_name(safe) == safe


def test_a_name_is_numbered_until_it_is_free() -> None:
    assert free_name("a", set()) == "a"
    assert free_name("A", {"a", "a-2"}) == "A-3"
