"""Tests never touch the folders of the user who runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest


def test_settings_and_data_of_the_session_are_apart() -> None:
    from napari.settings import _napari_settings

    for folder in (platformdirs.user_config_path(), platformdirs.user_data_path(), platformdirs.user_cache_path()):
        assert "napari-melanoma-tests-" in str(folder)
    assert "napari-melanoma-tests-" in str(_napari_settings._CFG_PATH)


def test_a_test_may_have_folders_of_its_own(user_folders: Path) -> None:
    assert platformdirs.user_data_path("x").is_relative_to(user_folders)
    assert not user_folders.exists()


def test_qsettings_follows(user_folders: Path) -> None:
    core = pytest.importorskip("qtpy.QtCore", reason="needs a Qt binding")
    settings = core.QSettings(core.QSettings.Format.IniFormat, core.QSettings.Scope.UserScope, "x", "x")
    assert Path(settings.fileName()).is_relative_to(user_folders)


def test_subprocesses_reuse_compiled_modules() -> None:
    assert not sys.dont_write_bytecode
    child = "import sys; raise SystemExit(sys.dont_write_bytecode or (sys.pycache_prefix or '') != sys.argv[1])"
    command = [sys.executable, "-c", child, sys.pycache_prefix or ""]
    assert subprocess.run(command, check=False).returncode == 0
