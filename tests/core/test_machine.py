"""A machine is identified by an id of its system, not by its name."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from napari_melanoma.core import files
from napari_melanoma.core.files import machine_id, platform_uuid


def test_the_platform_uuid_of_a_mac_is_parsed() -> None:
    reported = (
        '+-o J314sAP  <class IOPlatformExpertDevice>\n    {\n      "IOPlatformUUID" = "1B4C-77"\n      "x" = <00>\n'
    )
    assert platform_uuid(reported) == "1B4C-77"
    assert platform_uuid("") == ""


def marked(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """The mark while the machine has a name."""
    monkeypatch.setattr(platform, "node", lambda: name)
    machine_id.cache_clear()
    try:
        return machine_id()
    finally:
        machine_id.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is kept elsewhere")
def test_the_id_does_not_depend_on_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "id").write_text("0123456789abcdef\n")
    monkeypatch.setattr(files, "LINUX_ID", tmp_path / "id")
    assert marked(monkeypatch, "mac.local") == marked(monkeypatch, "dhcp-17.example")
    before = marked(monkeypatch, "a")
    (tmp_path / "id").write_text("another\n")
    assert marked(monkeypatch, "a") != before


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is kept elsewhere")
def test_without_an_id_the_name_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINUX_ID", tmp_path / "none")
    assert marked(monkeypatch, "a") != marked(monkeypatch, "b")
