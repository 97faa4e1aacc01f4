"""Options of the commands: generated from configuration classes, or declared once for several commands.

``add_command`` adds a command with its generated options to an application, and ``format_help`` formats its help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption
from typer.main import get_command

from napari_melanoma.cli.session import command_session, parameter_name

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from napari_melanoma.core.config import Config

OptionValues = dict[str, Any]  # option values given by the user, nested like the configuration
ADVANCED = "Advanced"  # heading of the options that most users do not need
MICROMETER_SUFFIXES = ("mpp", "_um")  # endings of field names with values in micrometers (mpp: per pixel)


@dataclass(frozen=True)
class ConfigOption:
    """Option for one field of a configuration.

    ``key``: dotted path of the field, such as ``roi.side_px``; ``info``: the field as pydantic describes it;
    ``declaration``: option name and metavar, such as ``--segmenter BUNDLE``; ``help_prefix``: start of the help text.
    """

    key: str
    info: FieldInfo
    default: object
    declaration: str
    help_prefix: str

    @property
    def parameter(self) -> Parameter:
        """The parameter that a command needs for this option; its value is None if the option is not given."""
        name, _, metavar = self.declaration.partition(" ")
        field_type = _option_type(self.info.annotation)
        choices = [str(choice) for choice in get_args(field_type)] if get_origin(field_type) is Literal else []
        option_type: Any = str if choices else field_type  # the configuration checks the choice, as all other values
        if choices:
            metavar = f"<{'|'.join(choices)}>"
        elif option_type is Path:
            metavar = metavar or "FILE"
        elif self.key.endswith(MICROMETER_SUFFIXES):
            metavar = metavar or "UM"
        complete = (lambda: choices) if choices else None
        option = typer.Option(name, help=self.help, metavar=metavar or None, autocompletion=complete)
        annotation = Annotated[option_type | None, option]
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

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
        text = f"{self.help_prefix}{'do not ' if self.is_negated else ''}{self.info.description or self.info.title}"
        if self.default not in (None, "", ()) and not isinstance(self.default, bool):
            numbers = self.default if isinstance(self.default, tuple) else (self.default,)
            formatted = (f"{part:g}" if isinstance(part, float) else str(part) for part in numbers)
            text += f"; {' '.join(formatted)} by default"
        text += "; may be repeated" if _option_type(self.info.annotation) == list[str] else ""
        return f"{text[0].upper()}{text[1:]}{'' if text.endswith('...') else '.'}"


class ConfigOptions:
    """Annotation of a command parameter that replaces it by one option for each field of a configuration class.

    The parameter receives the values that the user gave, and is written
    ``options: Annotated[OptionValues, ConfigOptions("slides.options:SlideOptions")]``. Options have the names of their
    fields; fields of nested configurations are included. ``source``: module and name of the class; ``without``: keys of
    fields that get no option; ``names``: other option names or metavars, by key such as ``roi.side_px``;
    ``help_prefix``: start of each help text.
    """

    def __init__(
        self, source: str, without: Sequence[str] = (), names: Mapping[str, str] | None = None, help_prefix: str = ""
    ) -> None:
        self.source, self.without, self.names, self.help_prefix = source, without, names or {}, help_prefix

    @property
    def config_class(self) -> type[Config]:
        """The configuration class."""
        module, name = self.source.split(":")
        config_class: type[Config] = getattr(import_module(f"napari_melanoma.{module}"), name)
        return config_class

    def list_options(self) -> list[ConfigOption]:
        """List the options in the order of the fields."""
        config_class = self.config_class
        return [
            ConfigOption(key, info, default, self.names.get(key) or _option_name(key, default), self.help_prefix)
            for key, info, default in self._iter_fields(config_class, config_class.model_construct(), "")
        ]

    def _iter_fields(
        self, config_class: type[BaseModel], defaults: object, prefix: str
    ) -> Iterator[tuple[str, FieldInfo, object]]:
        """Yield key, field and default of the fields that have an option."""
        from napari_melanoma.core.config import nested_config

        for name, info in config_class.model_fields.items():
            key, default = f"{prefix}{name}", getattr(defaults, name, None)
            if key in self.without:
                continue
            if nested := nested_config(info.annotation):
                yield from self._iter_fields(nested, default, f"{key}.")
            else:
                yield key, info, default


def _option_name(key: str, default: object) -> str:
    name = key.rpartition(".")[2].replace("_", "-")
    return f"--no-{name}" if default is True else f"--{name}"


def _option_type(annotation: Any) -> Any:  # noqa: ANN401 - a type's description
    """Convert the annotation of a field to a type that typer supports, without None."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str, Path):
        return annotation
    if get_origin(annotation) is tuple:
        if parts[-1] is Ellipsis and (parts[0] is str or get_origin(parts[0]) is Literal):
            return list[str]  # typer supports no lists of a Literal: the configuration checks them
        return tuple[tuple(map(_option_type, parts))]  # type: ignore[misc]
    if get_origin(annotation) is Annotated or len(parts) == 1:
        return _option_type(parts[0])
    raise TypeError(
        f"typer has no option type for {annotation}: exclude the field with `without`, and declare the option in the "
        "command."
    )


@dataclass(frozen=True)
class Command:
    """A command of an extension, the object of an entry point: the arguments of ``add_command``."""

    function: Callable[..., None]
    help_text: str
    basic: tuple[str, ...] = ()


def add_command(
    app: typer.Typer,
    name: str,
    command: Callable[..., None],
    help_text: str,
    *,
    basic: Sequence[str] = (),
    hidden: bool = False,
    more_help: Callable[[], str] | None = None,
) -> None:
    """Add a command to an application.

    ``help_text``: made by ``format_help``; the first sentence of its description, up to a colon, is the short help.
    ``basic``: options that most users need, without ``--``; the help lists the others below *Advanced*, if any is set.
    ``more_help``: returns the end of the help, which is slow to list.
    """

    class LazyCommand(TyperCommand):
        """Create the parameters on first use, so that listing the commands does not import every configuration."""

        def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - types of click, which newer versions of typer copy
            if not self.params:
                throwaway_app = typer.Typer(add_completion=False)
                throwaway_app.command()(_expand_config_options(command))
                complete = get_command(throwaway_app)
                self.params, self.callback = complete.params, complete.callback
                for parameter in self.params if basic else ():
                    if isinstance(parameter, TyperOption) and not set(parameter.opts) & shown:
                        parameter.rich_help_panel = ADVANCED
                if more_help is not None:
                    self.help = f"{help_text}{more_help()}"
            return super().get_params(ctx)

        def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
            """List arguments, options and advanced options; typer lists its help panels with rich only."""
            groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], ADVANCED: []}
            for parameter in self.get_params(ctx):
                is_argument = parameter.param_type_name == "argument"
                title = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or "Options"
                if record := parameter.get_help_record(ctx):
                    groups[title].append(record)
            for title, records in groups.items():
                if records:
                    with formatter.section(title):
                        formatter.write_dl(records)

    shown = {f"--{name}" for name in (*basic, "out", "json", "help")}
    sentence = help_text.split("\n\n")[1].split(". ")[0].split(":")[0].rstrip(".")
    app.command(name, cls=LazyCommand, help=help_text, short_help=f"{sentence}.", hidden=hidden)(lambda: None)


def find_config_options(command: Callable[..., None]) -> dict[str, ConfigOptions]:
    """Return the ``ConfigOptions`` of a command by the name of their parameter."""
    return {name: item for name, item in _list_annotations(command) if isinstance(item, ConfigOptions)}


def _list_annotations(command: Callable[..., None]) -> list[tuple[str, object]]:
    hints = get_type_hints(command, include_extras=True)
    return [(name, item) for name, hint in hints.items() for item in getattr(hint, "__metadata__", ())]


def _expand_config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with one parameter for each option in place of the parameters with ``ConfigOptions``.

    A parameter ``current``, a ``CommandSession``, is replaced by the options of the session, which come last.
    """
    options_of = {name: config.list_options() for name, config in find_config_options(command).items()}
    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    session_options: list[str] = []
    for name, parameter in signature(command).parameters.items():
        if name in options_of:
            parameters += [option.parameter for option in options_of[name]]
        elif name == "current":
            session_options = [*getattr(hints[name], "__metadata__", ()), "json", "debug"]
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))
    for name in session_options:
        default = None if name in ("backend", "device") else False
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=SESSION_OPTIONS[name]))

    def call(**values: Any) -> None:  # noqa: ANN401 - the values of the options
        values |= {name: _pop_values(options, values) for name, options in options_of.items()}
        if not session_options:
            command(**values)
            return
        from napari_melanoma.models.hub import download_named

        as_json, debug, *others = [values.pop(name, None) for name in SESSION_OPTIONS]
        with command_session(as_json, debug, *others) as current:
            download_named(values)
            command(current=current, **values)

    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return call


def _pop_values(options: Sequence[ConfigOption], values: dict[str, Any]) -> OptionValues:
    """Remove the values of the options from ``values``; return those given by the user, nested like the fields."""
    nested: OptionValues = {}
    for option in options:
        value = values.pop(option.name)
        if value in (None, [], ()):
            continue
        *sections, name = option.key.split(".")
        table = nested
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = not value if option.is_negated else value
    return nested


# Options of several commands

Json = Annotated[bool, typer.Option("--json", help="Write JSON lines to standard output; the last line is a summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Allow data sets to refer to files outside their folders, directly or by links; each such folder is "
        "reported.",
    ),
]
AcceptDamaged = Annotated[
    bool,
    typer.Option(
        "--accept-damaged",
        help="Read the intact part of damaged photographs; results state that the file was damaged.",
    ),
]
BackendName = Annotated[
    Literal["auto", "onnxruntime", "torch"] | None,
    typer.Option(
        "--backend",
        help="What runs the networks; by default torch if there is a GPU, or else ONNX Runtime for models that have "
        "graphs.",
    ),
]
DeviceName = Annotated[
    Literal["auto", "cpu", "cuda", "mps", "xpu"] | None,
    typer.Option("--device", help="Where networks run; by default on a GPU that torch finds, or else on the CPU."),
]
# Options of commands that run in a session, by the names of their parameters. Each has ``--json`` and ``--debug``; the
# others are named by the command: ``current: Annotated[CommandSession, "allow_outside"]``.
SESSION_OPTIONS = {
    "json": Json,
    "debug": Debug,
    "allow_outside": AllowOutside,
    "accept_damaged": AcceptDamaged,
    "backend": BackendName,
    "device": DeviceName,
}
NoRefine = Annotated[
    bool,
    typer.Option(
        "--no-refine",
        help="Use the thresholded mask without smoothing, selecting the largest region, or filling holes.",
    ),
]
NoPatients = Annotated[
    bool,
    typer.Option(
        "--no-patients",
        help="Confirm that no column identifies the patients. Images of one patient may then be in both the training "
        "and the test set.",
    ),
]
MaskValues = Annotated[
    str | None,
    typer.Option(
        "--values",
        metavar="VALUES",
        help="Values of a multi-valued mask that mark the lesion: numbers or names separated by commas, 'all' (every "
        "value except 0), or 'keep' (store them as classes).",
    ),
]
NO_REFINEMENT = {"largest_only": False, "fill_holes": False, "smoothing": 0.0, "min_area_fraction": 0.0}  # --no-refine
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; created if missing.")]
ClassifierValues = Annotated[
    OptionValues,
    ConfigOptions(
        "evaluation.labeled_images:ClassEvaluationOptions",
        without=("split", "include_seen"),
        names={"segmenter": "--segmenter BUNDLE"},
        help_prefix="classifiers: ",
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
        help="Classifiers: count how often the maximum of this heatmap (cam, attention ...) lies in "
        "the mask of the decisive structure; may be given several times.",
    ),
]
PointingMasks = Annotated[
    Path | None,
    typer.Option("--pointing-masks", metavar="DIR", help="Masks of the decisive structure, named like the images."),
]


def format_help(first_example: str, second_example: str, description: str) -> str:
    """Format the help of a command: two working examples, then its description."""
    # \b keeps the line breaks of its paragraph.
    return f"\b\nExamples:\n  {first_example}\n  {second_example}\n\n{description}"


def drop_unset(**values: object) -> dict[str, object]:
    """Return the options that the user gave; the defaults of the others are those of the configuration."""
    return {name: value for name, value in values.items() if value is not None}
