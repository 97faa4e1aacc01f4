"""Commands in an environment without torch: predictions work, and what needs torch says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import LONG_PATIENCE_S

from napari_melanoma.core.packages import TORCH_PACKAGES

BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TORCH_PACKAGES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.slow
def test_commands_without_torch(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    (tmp_path / "recipe.toml").write_text('[data]\ndatasets = ["any"]\n')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "napari_melanoma", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False
        )

    assert run("phantom", "lesion", "--out", ".").returncode == 0
    classified = run("lesion", "lesion_0000.png", "--out", "results", "--classify", "--heatmap", "occlusion")
    assert classified.returncode == 0, classified.stderr
    for command, needed in (
        (("lesion", "lesion_0000.png", "--out", "other", "--backend", "torch"), "in torch (requested) needs torch, "),
        (
            ("lesion", "lesion_0000.png", "--out", "other", "--classify", "--heatmap", "grad_cam"),
            "of the network needs ",
        ),
        (("train", "--config", "recipe.toml", "--out", "run"), "training needs "),
    ):
        failed = run(*command)
        assert failed.returncode == 2, failed.stderr
        assert needed in failed.stderr
        assert "pip install torch torchvision" in failed.stderr
        assert "unexpected" not in failed.stderr
