"""Options of the commands: those that several share, and those generated from configurations, with their completion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand
from typer.main import get_command

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from napari_melanoma.core.config import Config

Given = dict[str, Any]  # the values that were given, nested like the configuration
MICROMETERS = ("mpp", "_um")  # ends of the names of fields in micrometers


@dataclass(frozen=True)
class ConfigOption:
    """The option for a field of a configuration; ``key`` is its name, with those of the configurations around it."""

    key: str
    info: FieldInfo
    default: object
    declaration: str
    about: str

    @property
    def parameter(self) -> Parameter:
        """The parameter of a command; its value is None if the option is not given."""
        name, _, metavar = self.declaration.partition(" ")
        kind, choices = _option_type(self.info.annotation), None
        if get_origin(kind) is Literal:  # checked by the configuration, as all other values
            choices = list(map(str, get_args(kind)))
            kind, metavar = str, f"<{'|'.join(choices)}>"
        elif kind is Path or self.key.endswith(MICROMETERS):
            metavar = metavar or ("FILE" if kind is Path else "UM")
        complete = (lambda: choices) if choices else None
        option = typer.Option(name, help=self.help, metavar=metavar or None, autocompletion=complete)
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return parameter_name(self.key)

    @property
    def is_negated(self) -> bool:
        """Whether the option switches something off."""
        return self.default is True

    @property
    def help(self) -> str:
        """The description of the field, with its default."""
        text = f"{self.about}{'do not ' if self.is_negated else ''}{self.info.description or self.info.title}"
        if self.default not in (None, "", ()) and not isinstance(self.default, bool):
            numbers = self.default if isinstance(self.default, tuple) else (self.default,)
            shown = (f"{part:g}" if isinstance(part, float) else str(part) for part in numbers)
            text += f"; {' '.join(shown)} by default"
        text += "; may be repeated" if _option_type(self.info.annotation) == list[str] else ""
        return f"{text[0].upper()}{text[1:]}{'' if text.endswith('...') else '.'}"


class ConfigOptions:
    """Mark the parameter of a command that receives the given values of a configuration.

    Written ``Annotated[Given, ConfigOptions("slides.options:SlideOptions")]``. Every field is an option with its name,
    also those of nested configurations. ``without``: keys without an option; ``names``: options with another name or
    metavar, by key such as ``roi.side_px``; ``about``: start of all help texts.
    """

    def __init__(
        self, source: str, without: Sequence[str] = (), names: Mapping[str, str] | None = None, about: str = ""
    ) -> None:
        self.source, self.without, self.names, self.about = source, without, names or {}, about

    @property
    def model(self) -> type[Config]:
        """The configuration."""
        module, name = self.source.split(":")
        found: type[Config] = getattr(import_module(f"napari_melanoma.{module}"), name)
        return found

    def list_options(self) -> list[ConfigOption]:
        """List the options in the order of the fields."""
        model = self.model
        return [
            ConfigOption(key, info, default, self.names.get(key) or _option_name(key, default), self.about)
            for key, info, default in self._iter_fields(model, model.model_construct(), "")
        ]

    def _iter_fields(
        self, model: type[BaseModel], defaults: object, prefix: str
    ) -> Iterator[tuple[str, FieldInfo, object]]:
        """Yield key, field and default of the fields that have an option."""
        from napari_melanoma.core.config import nested_config

        for name, info in model.model_fields.items():
            key, default = f"{prefix}{name}", getattr(defaults, name, None)
            if key in self.without:
                continue
            if nested := nested_config(info.annotation):
                yield from self._iter_fields(nested, default, f"{key}.")
            else:
                yield key, info, default


def parameter_name(key: str) -> str:
    """Return the name of the parameter for a field, also if the key is that of an item of its value."""
    return "__".join(part for part in key.split(".") if not part.isdigit())


def _option_name(key: str, default: object) -> str:
    name = key.rpartition(".")[2].replace("_", "-")
    return f"--no-{name}" if default is True else f"--{name}"


def _option_type(annotation: Any) -> Any:  # noqa: ANN401 - a type's description
    """Return the type of a field as typer knows it, without None."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str, Path):
        return annotation
    if get_origin(annotation) is tuple:
        return list[str] if parts == [str, Ellipsis] else tuple[tuple(map(_option_type, parts))]  # type: ignore[misc]
    if get_origin(annotation) is Annotated or len(parts) == 1:
        return _option_type(parts[0])
    raise TypeError(f"no option for {annotation}: leave the field out, and add an option to the command")


def add_verb(app: typer.Typer, name: str, verb: Callable[..., None], text: str, *, hidden: bool = False) -> None:
    """Add a command; its line in the list of commands is the first sentence after its examples."""

    class Verb(TyperCommand):
        """The command; its parameters are created when they are needed."""

        def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - of click, or of the copy of it in newer versions of typer
            if not self.params:
                complete = typer.Typer(add_completion=False)
                complete.command()(_with_options(verb))
                command = get_command(complete)
                self.params, self.callback = command.params, command.callback
            return super().get_params(ctx)

    sentence = text.split("\n\n")[1].split(". ")[0].split(":")[0].rstrip(".")
    app.command(name, cls=Verb, help=text, short_help=f"{sentence}.", hidden=hidden)(lambda: None)


def find_config_options(verb: Callable[..., None]) -> dict[str, ConfigOptions]:
    """Return the configurations of a command by the name of the parameter that receives the values."""
    hints = get_type_hints(verb, include_extras=True)
    marks = ((name, mark) for name, hint in hints.items() for mark in getattr(hint, "__metadata__", ()))
    return {name: mark for name, mark in marks if isinstance(mark, ConfigOptions)}


def _with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Return the command with an option for each field instead of the parameters that receive a configuration."""
    configs = {name: mark.list_options() for name, mark in find_config_options(verb).items()}
    hints = get_type_hints(verb, include_extras=True)
    parameters: list[Parameter] = []
    for name, parameter in signature(verb).parameters.items():
        own = parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
        parameters += [option.parameter for option in configs[name]] if name in configs else [own]

    def call(**values: object) -> None:
        given = {name: _gather(options, values) for name, options in configs.items()}
        verb(**values, **given)

    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return call


def _gather(options: Sequence[ConfigOption], values: dict[str, Any]) -> Given:
    """Remove the values of a configuration, and return those that were given, nested like its fields."""
    given: Given = {}
    for option in options:
        value = values.pop(option.name)
        if value in (None, [], ()):
            continue
        *sections, name = option.key.split(".")
        table = given
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = not value if option.is_negated else value
    return given


Json = Annotated[bool, typer.Option("--json", help="JSON lines on standard output, the last one a summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Allow data sets to name files outside their folders, and links that lead there; these files are listed.",
    ),
]
AcceptDamaged = Annotated[
    bool,
    typer.Option("--accept-damaged", help="Read the intact part of damaged photographs, and mark every result."),
]
NoRefine = Annotated[
    bool, typer.Option("--no-refine", help="Use the thresholded mask without smoothing, selection or filling.")
]
NoPatients = Annotated[
    bool,
    typer.Option(
        "--no-patients",
        help="Confirm that no column names the patients. Images of a patient may then be in training and test set.",
    ),
]
MaskValues = Annotated[
    str | None,
    typer.Option(
        "--values",
        metavar="VALUES",
        help="Values of a multi-valued mask that are lesion: values or names with commas, all (every value but 0) or "
        "keep (as classes).",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; created if missing.")]
NO_REFINEMENT = {"largest_only": False, "fill_holes": False, "smoothing": 0.0, "min_area_fraction": 0.0}
ClassifierValues = Annotated[
    Given,
    ConfigOptions(
        "evaluation.classifier_measurement:ClassEvaluationOptions",
        without=("split", "include_seen"),
        names={"segmenter": "--segmenter BUNDLE"},
        about="classifiers: ",
    ),
]
Age = Annotated[str | None, typer.Option(help="Age of the patient in years, for the classifier.")]
Sex = Annotated[str | None, typer.Option(help="Sex of the patient.")]
Site = Annotated[str | None, typer.Option(help="Site of the body, such as 'upper back'.")]
Pointing = Annotated[
    list[str] | None,
    typer.Option(
        "--pointing",
        metavar="METHOD",
        help="Classifiers: count how often the maximum of this heatmap (grad_cam, attention ...) lies in "
        "the mask of the decisive structure; may be given several times.",
    ),
]
PointingMasks = Annotated[
    Path | None,
    typer.Option("--pointing-masks", metavar="DIR", help="Masks of the decisive structure, named like the images."),
]


def examples(first: str, second: str, text: str) -> str:
    r"""Format the help of a command: two working examples, then its description."""
    return f"\b\nExamples:\n  {first}\n  {second}\n\n{text}"


def drop_unset(**values: object) -> dict[str, object]:
    """Keep the options that were given, so that every default comes from the configuration."""
    return {name: value for name, value in values.items() if value is not None}
