"""Options generated from configurations: every field has one, its default is that of the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import Field
from typer.main import get_command
from typer.testing import CliRunner

from napari_melanoma.cli import COMMANDS, app, data, evaluate, lesion, models, phantom, slide, studies, train
from napari_melanoma.cli.options import (
    ConfigOption,
    ConfigOptions,
    OptionValues,
    _expand_config_options,
    add_command,
    find_config_options,
)
from napari_melanoma.core.config import Config, nested_config
from napari_melanoma.extensions.risk import command as risk

VERBS = {
    "lesion": lesion.lesion,
    "slide": slide.slide,
    "risk": risk.risk,
    "adapt": train.adapt,
    "evaluate": evaluate.evaluate,
    "studies biomarkers": studies.biomarkers,
    "compare": evaluate.compare,
    "data import-masks": data.import_masks,
    "data tiles": data.tiles,
    "data merge": data.merge,
    "data split": data.split,
    "data report": data.report,
    "models export": models.export,
    "phantom lesion": phantom.lesion,
    "phantom slide": phantom.slide,
    "phantom cohort": phantom.cohort,
    **{name: command.function for name, command in COMMANDS.members.items()},
}
MARKS = [(verb, mark) for verb, function in VERBS.items() for mark in find_config_options(function).values()]
OPTIONS = [(verb, mark, option) for verb, mark in MARKS for option in mark.list_options()]
EVERY_OPTION = pytest.mark.parametrize(
    ("verb", "mark", "option"), OPTIONS, ids=[f"{verb} {option.key}" for verb, _, option in OPTIONS]
)


def fields_of(model: type[Config], prefix: str = "") -> set[str]:
    found = set()
    for name, info in model.model_fields.items():
        nested = nested_config(info.annotation)
        found |= fields_of(nested, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
    return found


def value_for(annotation: Any) -> tuple[list[str], object]:
    """Return words for an option, and the value that they give."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return [str(parts[-1])], parts[-1]
    if annotation is bool:
        return [], True
    if annotation in (int, float, str, Path):
        return ["7"], annotation("7")
    if get_origin(annotation) is tuple:
        return (["a"], ["a"]) if Ellipsis in parts else (["7"] * len(parts), (7,) * len(parts))
    return value_for(parts[0])


def nest(key: str, value: object) -> dict[str, Any]:
    name, _, rest = key.partition(".")
    return {name: nest(rest, value) if rest else value}


def given_by(mark: ConfigOptions, words: list[str]) -> OptionValues:
    received: list[OptionValues] = []

    def verb(options: Annotated[OptionValues, mark]) -> None:  # type: ignore[valid-type]
        received.append(options)

    verb.__annotations__["options"] = Annotated[OptionValues, mark]
    program = typer.Typer(add_completion=False)
    program.command()(_expand_config_options(verb))
    get_command(program)(words, standalone_mode=False)
    return received[0]


@pytest.mark.parametrize(("verb", "mark"), MARKS, ids=[f"{verb} {mark.source}" for verb, mark in MARKS])
def test_every_field_has_an_option_or_is_left_out_by_name(verb: str, mark: ConfigOptions) -> None:
    fields = fields_of(mark.config_class)
    left_out = {key for key in fields if any(key == one or key.startswith(f"{one}.") for one in mark.without)}
    assert {option.key for option in mark.list_options()} == fields - left_out
    assert {one for one in mark.without if not any(f"{key}.".startswith(f"{one}.") for key in fields)} == set()
    assert set(mark.names) <= fields - left_out
    assert given_by(mark, []) == {}


@EVERY_OPTION
def test_an_option_gives_the_value_of_its_field(verb: str, mark: ConfigOptions, option: ConfigOption) -> None:
    words, value = value_for(option.info.annotation)
    name = option.declaration.split(" ")[0].split("/")[0]
    assert given_by(mark, [name, *words]) == nest(option.key, False if option.default is True else value)


@EVERY_OPTION
def test_the_help_has_the_description_and_the_default(verb: str, mark: ConfigOptions, option: ConfigOption) -> None:
    command = get_command(app)
    for word in verb.split():
        command = command.get_command(None, word)
    parameters = {one.name: one for one in command.get_params(command.make_context(verb, [], resilient_parsing=True))}
    shown = parameters[option.name].help
    assert option.info.description
    assert option.info.description[1:] in shown
    if isinstance(option.default, int | float | str) and not isinstance(option.default, bool) and option.default != "":
        assert f"; {option.default:g} by" in shown if isinstance(option.default, float) else f"{option.default} by"
    assert parameters[option.name].default is None  # so that the default is that of the configuration


class Part(Config):
    share: float = Field(0.25, description="share of a tile")


class Example(Config):
    part: Part = Part()
    fill: bool = Field(True, description="fill holes")
    size_um: float | None = Field(None, description="size; by default unknown")
    words: dict[str, str] = Field({}, description="words")


def test_a_new_field_is_a_new_option(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = ConfigOptions("cli.example:Example", without=("words",), names={"part.share": "--share PART"})
    monkeypatch.setattr(ConfigOptions, "config_class", Example)
    declared = [(option.declaration, option.help, option.parameter.name) for option in mark.list_options()]
    assert declared == [
        ("--share PART", "Share of a tile; 0.25 by default.", "part__share"),
        ("--no-fill", "Do not fill holes.", "fill"),
        ("--size-um", "Size; by default unknown.", "size_um"),
    ]
    assert given_by(mark, ["--no-fill", "--share", "0.5"]) == {"part": {"share": 0.5}, "fill": False}
    with pytest.raises(TypeError, match="no option type for dict"):
        _ = ConfigOptions("cli.example:Example").list_options()[-1].parameter


def test_parameters_are_created_when_a_command_is_used() -> None:
    program = typer.Typer(add_completion=False)

    def verb(options: Annotated[OptionValues, ConfigOptions("missing:Missing")]) -> None: ...

    verb.__annotations__ = {"options": Annotated[OptionValues, ConfigOptions("missing:Missing")], "return": None}
    add_command(program, "one", verb, "Examples\n\nDo this. And that.")
    add_command(program, "two", lambda: None, "Examples\n\nDo nothing.")
    command = get_command(program)
    assert command.commands["one"].get_short_help_str() == "Do this."
    with pytest.raises(ModuleNotFoundError):
        command(["one"], standalone_mode=False)


def test_choices_are_offered_for_completion() -> None:
    border = next(option for _, _, option in OPTIONS if option.key == "border")
    _, declared = get_args(border.parameter.annotation)
    assert (declared.autocompletion(), declared.metavar) == (["pad", "inside", "shift"], "<pad|inside|shift>")


@pytest.mark.parametrize(
    ("verb", "basic"),
    [
        ("lesion", lesion.BASIC),
        ("slide", slide.BASIC),
        ("evaluate", evaluate.EVALUATE_BASIC),
        ("compare", evaluate.COMPARE_BASIC),
        ("phantom slide", phantom.SLIDE_BASIC),
        ("risk", risk.COMMAND.basic),
    ],
)
def test_options_that_most_users_do_not_need_are_advanced(verb: str, basic: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*verb.split(), "--help"], terminal_width=100).output
    first, advanced = shown.split("\nAdvanced:\n")
    listed = re.findall(r"^  (?:-\w, )?--([\w-]+)", first.split("\nOptions:\n")[1], re.MULTILINE)
    assert set(listed) == {*basic, "out", "json", "help"}
    assert "  --debug " in advanced
