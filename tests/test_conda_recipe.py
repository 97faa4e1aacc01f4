"""The conda recipe needs what pyproject.toml needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CONDA_NAMES = {
    "lazy-loader": "lazy_loader",
    "matplotlib": "matplotlib-base",
    "napari": "napari-base",
    "torch": "pytorch",
}
# With pip a wheel, with conda the library itself.
WHEELS_OF_LIBRARIES = {"openslide-bin"}
LIBRARIES = {"openslide"}


def split(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([\w-]+) ?(\S*)", requirement).groups()
    return name, bound


def test_dependencies_and_bounds_are_those_of_the_package() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the documentation tools")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((REPOSITORY / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    wanted = dict(map(split, project["dependencies"]))
    listed = [requirement for requirement in recipe["requirements"]["run"] if not requirement.startswith("python >")]
    found = dict(map(split, listed))
    assert {name: bound for name, bound in found.items() if name not in LIBRARIES} == {
        CONDA_NAMES.get(name, name): bound for name, bound in wanted.items() if name not in WHEELS_OF_LIBRARIES
    }
    assert f">={recipe['context']['python_min']}" == project["requires-python"]
