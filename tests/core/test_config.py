"""Configurations: frozen, without unknown keys, and unchanged by a round trip through TOML."""

from __future__ import annotations

import importlib
import pkgutil
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import napari_melanoma
from napari_melanoma.core.config import Config, OneOf, change_values, read_toml, write_toml
from napari_melanoma.core.errors import ConfigError


class Margin(Config):
    fraction: float = Field(0.1, ge=0, le=1)
    background: Literal["zero", "keep"] = "zero"


class Recipe(Config):
    name: str
    seed: int = 0
    threshold: float | None = None
    margin: Margin = Margin()
    sizes: tuple[int, ...] = (256, 384)
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = 16
    half: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    few: tuple[Annotated[int, Field(le=4)], ...] = ()


class Fault(NamedTuple):
    name: str
    values: Any
    expected_text: tuple[str, ...]


FAULTS = [
    Fault(
        "an unknown key",
        {"name": "a", "sead": 1},
        ("unknown key 'sead'", "known: batch, few, half, margin, name, seed, sizes"),
    ),
    Fault(
        "an unknown key inside",
        {"name": "a", "margin": {"size": 1}},
        ("unknown key 'margin.size'", "known: background, fraction"),
    ),
    Fault("a missing key", {}, ("key 'name' is missing",)),
    Fault(
        "out of range",
        {"name": "a", "margin": {"fraction": 2}},
        ("'margin.fraction' is 2; expected a number of at least 0 and at most 1",),
    ),
    Fault(
        "out of a range of its own",
        {"name": "a", "half": 0.5},
        ("'half' is 0.5; expected a number above 0.5 and below 1",),
    ),
    Fault("an element out of range", {"name": "a", "few": [3, 9]}, ("'few.1' is 9; expected a number of at most 4",)),
    Fault("not one of", {"name": "a", "margin": {"background": "red"}}, ("'margin.background' is 'red'", "'zero'")),
    Fault("another type", {"name": "a", "seed": "often"}, ("'seed' is 'often'", "valid integer")),
    Fault("two at once", {"sead": 1}, ("key 'name' is missing", "; ", "unknown key 'sead'")),
    Fault("an element of a list", {"name": "a", "sizes": [1, "big"]}, ("'sizes.1' is 'big'",)),
    Fault("no keys and values at all", [1, 2], ("'(top)' is [1, 2]",)),
    Fault(
        "neither of two types",
        {"name": "a", "batch": 1},
        ("'batch' is 1; ", "expected a number of at least 2 or input should be 'auto'"),
    ),
    Fault("a key below a plain value", {"name": "a", "margin": 3}, ("'margin' is 3",)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_named(fault: Fault) -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe.parse(fault.values, "recipe.toml")
    message = str(caught.value)
    assert message.startswith("recipe.toml: ")
    assert [part for part in fault.expected_text if part not in message] == []
    assert caught.value.__cause__ is None


class Choice(Config):
    inner: Margin | Recipe | None = None
    maybe: Margin | None = None


def test_the_known_keys_are_listed_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Recipe.parse({"name": "a", "sead": 1, "sede": 2, "margin": {"size": 3}}, "recipe")
    assert str(raised.value).count("known: batch") == 1
    assert all(f"unknown key '{key}'" in str(raised.value) for key in ("sead", "sede", "margin.size"))


def test_an_unknown_key_where_the_model_is_not_certain_is_named_all_the_same() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'inner\.Margin\.size';"):
        Choice.parse({"inner": {"size": 1}}, "choice")
    with pytest.raises(ConfigError, match=r"unknown key 'maybe\.size' \(known: background, fraction\)\.$"):
        Choice.parse({"maybe": {"size": 1}}, "choice")


@pytest.mark.slow
@settings(max_examples=30)
@given(
    recipe=st.builds(
        Recipe,
        name=st.text(),
        seed=st.integers(-(2**63), 2**63 - 1),
        threshold=st.none() | st.floats(0, 1),
        margin=st.builds(Margin, fraction=st.floats(0, 1), background=st.sampled_from(["zero", "keep"])),
        sizes=st.lists(st.integers(1, 4096)).map(tuple),
    )
)
def test_toml_round_trip(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    write_toml(path, recipe)
    assert read_toml(path, Recipe) == recipe


UNREADABLE = [
    ("no such file", None, r"cannot read .*recipe\.toml: No such file or directory\. Name an existing TOML file\."),
    ("no TOML", b"name = ", r"recipe\.toml: it is not valid TOML: "),
    ("no text", b"\xff\xfe\x00", r"recipe\.toml: it is not text in UTF-8"),
    ("an unknown key", b"name = 'a'\nsead = 1\n", r"recipe\.toml: unknown key 'sead'"),
]


@pytest.mark.parametrize(
    ("content", "expected_text"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE]
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, expected_text: str) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected_text):
        read_toml(path, Recipe)


NAMES = ["first"]


class Named(Config):
    part: Annotated[str, OneOf(lambda: NAMES)] = "first"


def test_a_name_must_be_available():
    with pytest.raises(ConfigError, match=r"'part' is 'second'; no such name \(known: first\)"):
        Named.parse({"part": "second"}, "here")
    NAMES.append("second")
    try:
        assert Named.parse({"part": "second"}, "here").part == "second"
    finally:
        NAMES.remove("second")


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_not_a_number(value: bool) -> None:
    class Counted(Config):
        count: int = 1
        share: float | None = None
        is_on: bool = False
        either: bool | int = 0

    for name in ("count", "share"):
        with pytest.raises(ConfigError, match=f"'{name}' is {value}; expected a number"):
            Counted.parse({name: value}, "the test")
    found = Counted.parse({"is_on": value, "either": value}, "the test")
    assert (found.is_on, found.either) == (value, value)


def test_a_boolean_in_a_collection_is_not_a_number() -> None:
    class Part(Config):
        is_on: bool = False

    class Counted(Config):
        pair: tuple[Annotated[float, Field(gt=0)], float] = (1.0, 1.0)
        shares: tuple[float, ...] | None = None
        named: dict[str, int] = {}
        nested: tuple[tuple[int, str], ...] = ()
        anything: dict[str, Any] = {}
        parts: dict[str, Part | float] = {}
        either: tuple[bool | int, ...] = ()

    wrong = {"pair": [1, True], "shares": [False], "named": {"a": True}, "nested": [[True, "a"]], "parts": {"a": True}}
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=f"'{name}' is .*; expected numbers, not true or false"):
            Counted.parse({name: value}, "the test")
    right = {"pair": [1, 2], "anything": {"a": True, "b": [True]}, "parts": {"a": {"is_on": True}}, "either": [True]}
    found = Counted.parse(right, "the test")
    assert (found.parts["a"], found.either) == (Part(is_on=True), (True,))


class Network(Config):
    name: str = "unet"
    size: int = Field(256, ge=32)
    options: dict[str, Any] = {}


class Changed(Config):
    epochs: int = 10
    rate: float | Literal["auto"] = "auto"
    name: str = "first"
    keep: bool = False
    sets: tuple[str, ...] = ()
    model: Network = Network()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["epochs=3", "rate = 1e-3", "keep=true"], {"epochs": 3, "rate": 1e-3, "keep": True}),
        (["rate=auto", "name=007", "epochs=4", "epochs=5"], {"rate": "auto", "name": "007", "epochs": 5}),
        (["sets=data/a,data/b"], {"sets": ("data/a", "data/b")}),
        (['sets=["a,b"]', "sets=[]", "name=a=b"], {"sets": (), "name": "a=b"}),
        (["model.size=64", "model.options.depth=2"], {"model": Network(size=64, options={"depth": 2})}),
    ],
)
def test_values_are_changed_by_their_keys(texts: list[str], expected: dict[str, object]) -> None:
    assert change_values(Changed(), texts, "--set") == Changed(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", r"--set: unknown key 'epoch' \(known: epochs"),
        ("epochs=few", "--set: 'epochs' is 'few'; .*valid integer"),
        ("model.size=8", "--set: 'model.size' is 8; expected a number of at least 32"),
        ("modl.size=8", "--set: unknown key 'modl'"),
        ("epochs", "--set: expected KEY=VALUE, such as epochs=3; found 'epochs'"),
        ("=3", "--set: expected KEY=VALUE"),
    ],
)
def test_a_wrong_change_names_its_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change_values(Changed(), [text], "--set")


def list_configs() -> list[type[Config]]:
    """Return all configurations of the package; modules of ui define none and need a Qt."""
    for found in pkgutil.walk_packages(napari_melanoma.__path__, "napari_melanoma."):
        if not {"ui", "__main__"} & {*found.name.split(".")}:
            importlib.import_module(found.name)
    pending, known = [Config], []
    while pending:
        for child in pending.pop().__subclasses__():
            pending.append(child)
            known += [child] if child.__module__.startswith("napari_melanoma.") else []
    return known


def test_each_configuration_of_the_package_can_be_stored(tmp_path: Path) -> None:
    """TOML has no null: a field that is left out comes back as its default, which must then be None."""
    configs, stored = list_configs(), 0
    assert len(configs) > 50
    for config in configs:
        for name, field in config.model_fields.items():
            optional = get_origin(field.annotation) in (Union, types.UnionType)
            if optional and type(None) in get_args(field.annotation) and not field.is_required():
                assert field.default is None, f"{config.__name__}.{name}"
        try:
            default = config()
        except ValidationError:  # some need a value
            continue
        write_toml(tmp_path / "config.toml", default)
        assert read_toml(tmp_path / "config.toml", config) == default
        stored += 1
    assert stored > 20
