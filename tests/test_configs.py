"""What every configuration of the package promises: described fields, and a trip through TOML that changes nothing."""

from __future__ import annotations

import importlib
import pkgutil
import types
from pathlib import Path
from typing import Union, get_args, get_origin

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

import napari_melanoma
from napari_melanoma.core.config import Config, read_toml, write_toml

# Modules of ui need a Qt, and none of them defines a configuration: they show those of the packages below.
WITHOUT_CONFIGURATIONS = ("ui", "__main__")


def all_configs() -> list[type[Config]]:
    for found in pkgutil.walk_packages(napari_melanoma.__path__, "napari_melanoma."):
        if found.name.split(".")[1] not in WITHOUT_CONFIGURATIONS:
            importlib.import_module(found.name)
    pending, known = [Config], {}
    while pending:
        for child in pending.pop().__subclasses__():
            if child.__module__.startswith("napari_melanoma."):
                known[f"{child.__module__}.{child.__qualname__}"] = child
                pending.append(child)
    return [known[name] for name in sorted(known)]


CONFIGS = all_configs()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_a_configuration_is_frozen_and_refuses_unknown_keys(config: type[Config]) -> None:
    assert config.model_config["frozen"]
    assert config.model_config["extra"] == "forbid"
    assert config.__doc__


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_optional_fields_default_to_none(config: type[Config]) -> None:
    """TOML has no null: a field that is left out comes back as its default."""
    optional = {
        name: field.default
        for name, field in config.model_fields.items()
        if get_origin(field.annotation) in (Union, types.UnionType) and type(None) in get_args(field.annotation)
    }
    assert {name: value for name, value in optional.items() if value not in (None, PydanticUndefined)} == {}


def has_defaults(config: type[Config]) -> bool:
    """Whether nothing has to be given; some are refused as a whole where all is left out."""
    try:
        config()
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "config",
    [config for config in CONFIGS if has_defaults(config)],
    ids=lambda config: config.__name__,
)
def test_toml_gives_the_defaults_back(config: type[Config], tmp_path: Path) -> None:
    write_toml(tmp_path / "config.toml", config())
    assert read_toml(tmp_path / "config.toml", config) == config()
