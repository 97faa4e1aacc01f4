"""Hook of mkdocs: fill the reference pages with what is defined in code.

A line ``<!-- generated: NAME -->`` of a page is replaced by the text that ``GENERATORS[NAME]`` returns. The texts of
options are defined where the option is; the build fails if an option has none.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import paper_components
import synoptic_schema
from pydantic import BaseModel
from typer.main import get_command

from napari_melanoma.cli import app
from napari_melanoma.cli.options import ADVANCED
from napari_melanoma.core.config import OneOf, computed_fields, nested_config
from napari_melanoma.data.table_schema import COLUMNS, Column
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.metrics import metric_table
from napari_melanoma.metrics.metric_table import Metric
from napari_melanoma.models.zoo import NETWORKS, ArchitectureTask
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.training.losses import LOSSES
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.schedules import SCHEDULES

MARKER = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)
SHARED_OPTIONS = ("--accept-damaged", "--allow-outside", "--backend", "--debug", "--device", "--json")
LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # of pydantic
MAX_LISTED = 8  # names of a choice; longer lists have a page or table of their own


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the markers of a page; mkdocs calls it."""
    return MARKER.sub(lambda found: GENERATORS[found[1]](), markdown)


def format_table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; ``head``: the titles of its columns, separated by bars."""
    titles = [title.strip() for title in head.split("|")]
    cells = [[escape(" ".join(cell.split())) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *cells))


def escape(text: str) -> str:
    """Escape what Markdown would read as HTML, emphasis or the end of a cell, except within code."""
    return re.sub(r"`[^`]*`|[<*|]", lambda found: found[0] if len(found[0]) > 1 else f"&#{ord(found[0])};", text)


def require_help(name: str, text: str | None) -> str:
    """Return the help of an option as a sentence without its period; an ellipsis at its end stays."""
    if not text or not text.strip():
        raise ValueError(f"{name} has no help: describe it where it is defined")
    return re.sub(r"(?<!\.)\.$", "", text.strip())


# Commands


def describe_commands() -> str:
    """Describe every command with its examples, options and help."""
    program: Any = get_command(app)
    shared: dict[str, str] = {}
    sections = list(_describe_group(program, (), shared))
    table = format_table("option | meaning", ((f"`{name}`", text) for name, text in sorted(shared.items())))
    return "\n\n".join(["## Options of many commands", table, *sections])


def _describe_group(group: Any, path: tuple[str, ...], shared: dict[str, str]) -> Iterator[str]:  # noqa: ANN401
    for name in group.list_commands(None):
        command, here = group.get_command(None, name), (*path, name)
        if command.hidden:
            continue
        yield f"{'#' * (len(here) + 1)} {' '.join(here)}"
        if hasattr(command, "commands"):
            yield require_help(" ".join(here), command.help) + "."
            yield from _describe_group(command, here, shared)
        else:
            yield _describe_command(command, " ".join(here), shared)


def _describe_command(command: Any, name: str, shared: dict[str, str]) -> str:  # noqa: ANN401 - click, or typer's copy
    parameters = command.get_params(command.make_context(name, [], resilient_parsing=True))
    paragraphs, basic, advanced, also = [], [], [], []
    require_help(name, command.help)
    for text in command.help.replace("\b\n", "\b").split("\n\n"):
        title, _, lines = text.strip().removeprefix("\b").partition("\n")
        is_listing = text.strip().startswith("\b") and title.endswith(":")
        language = "sh" if title == "Examples:" else "text"
        block = "\n".join(line.removeprefix("  ") for line in lines.splitlines())
        heading = "" if language == "sh" else f"{title}\n\n"
        paragraphs.append(f"{heading}```{language}\n{block}\n```" if is_listing else escape(text.strip()))
    for parameter in parameters:
        options = [option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("-")]
        if "--help" in options:
            continue
        text = require_help(f"{name}: {parameter.name}", parameter.help)
        rows = advanced if getattr(parameter, "rich_help_panel", None) == ADVANCED else basic
        if parameter.param_type_name == "argument":
            rows.append((f"`{parameter.metavar or parameter.name.upper()}`", text))
        elif options[0] in SHARED_OPTIONS and shared.setdefault(options[0], text) == text:
            also.append(f"`{options[0]}`")
        else:
            value = f" {parameter.metavar}" if parameter.metavar else ""
            rows.append((", ".join(f"`{option}{value}`" for option in options), text))
    tables = [format_table("option | meaning", basic)] if basic else []
    tables += ["Advanced:", format_table("option | meaning", advanced)] if advanced else []
    return "\n\n".join([*paragraphs, *tables, f"Also {', '.join(also)}." if also else ""]).strip()


# Configurations


def describe_config(config: type[BaseModel], prefix: str = "") -> str:
    """Describe the fields of a configuration: those of a table of TOML below a heading of their own."""
    own, tables = [], []
    defaults = config.model_construct()
    hidden = computed_fields(config)
    for name, info in config.model_fields.items():
        key = f"{prefix}{name}"
        nested = nested_config(info.annotation)
        if name in hidden:
            continue
        if nested:
            about = f"\n\n{sentence(info.description)}" if info.description else ""
            brackets = ("[[", "]]") if _is_sequence(info.annotation) else ("[", "]")
            heading = f"{'#' * min(4, key.count('.') + 2)} `{brackets[0]}{key}{brackets[1]}`"
            tables.append(f"{heading}{about}\n\n{describe_config(nested, f'{key}.')}")
        else:
            text = require_help(f"the key {key}", info.description or info.title)
            own.append((f"`{key}`", format_value(getattr(defaults, name, None)), _describe_values(info), text))
    table = [format_table("key | default | values | meaning", own)] if own else []
    return "\n\n".join([*table, *tables])


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a period."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def format_value(value: object) -> str:
    """Format a default as TOML, without quotation marks."""
    if value is None or value in ("", (), {}):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(format_value, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.value if isinstance(value, Enum) else value)


def _is_sequence(annotation: object) -> bool:
    return any(get_origin(kind) in (tuple, list) for kind in (annotation, *get_args(annotation)))


def _describe_values(info: Any) -> str:  # noqa: ANN401 - FieldInfo
    """Describe the values that a field accepts: names, and limits of numbers."""
    metadata, kinds = [*info.metadata, *_list_metadata(info.annotation)], _list_types(info.annotation)
    names = [str(name) for item in metadata if isinstance(item, OneOf) for name in item.names]
    names += [str(name) for kind in kinds if get_origin(kind) is Literal for name in get_args(kind)]
    if len(names) > MAX_LISTED:
        return "a name"
    names += ["true", "false"] if bool in kinds else []
    limits = {name: value for item in metadata for name in LIMITS if (value := getattr(item, name, None)) is not None}
    limit_text = " and ".join(f"{LIMITS[name]} {value:g}" for name, value in limits.items())
    return ", ".join([*(f"`{name}`" for name in names), *([limit_text] if limit_text else [])])


def _list_types(annotation: object) -> list[object]:
    """List the alternatives of a type, without ``Annotated``."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _list_types(part)]
    return _list_types(get_args(annotation)[0]) if get_origin(annotation) is Annotated else [annotation]


def _list_metadata(annotation: object) -> list[object]:
    own = getattr(annotation, "__metadata__", ())
    own = [part for item in own for part in (item, *getattr(item, "metadata", ()))]
    return own + [item for part in get_args(annotation) for item in _list_metadata(part)]


# Tables of objects


def list_members(family: Mapping[str, Any], task: str) -> str:
    """List losses or schedules with their title and source."""
    specs = [member.spec for member in family.values()]
    rows = [(f"`{one.name}`", one.title, one.reference) for one in specs if getattr(one, "task", task) == task]
    return format_table("name | title | source", rows)


def describe_networks(task: ArchitectureTask) -> str:
    """Describe the networks of a task with their options."""
    sections = []
    for name, network in NETWORKS.members.items():
        spec = network.spec
        if spec.task == task:
            about = (spec.config.__doc__ or "").splitlines()[0].replace("``", "`")
            sections.append(
                f"### `{name}`\n\n{spec.title}. {about} Source: {spec.reference}.\n\n{describe_config(spec.config)}"
            )
    return "\n\n".join(sections)


def list_metrics(metrics: Mapping[str, Metric]) -> str:
    """List metrics with their direction, range and definition."""

    def limits(metric: Metric) -> str:
        low, high = metric.limits
        if math.isinf(low):
            return "any"
        return f"from {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"

    rows = ((f"`{one.key}`", one.label, one.better, limits(one), one.definition) for one in metrics.values())
    return format_table("key | title | better | range | definition", rows)


def list_columns() -> str:
    """List the columns of a data set's table."""

    def values(column: Column) -> str:
        if column.kind == "number":
            return f"{column.low:g} to {column.high:g} {column.unit}"
        if column.kind == "yes_no":
            return "1 or 0"
        if column.kind == "text":
            return ", ".join(column.expected) or "any text"
        words = load_taxonomy(column.taxonomy).words[:-1]
        return ", ".join(words) if len(words) <= MAX_LISTED else f"a word of `{column.taxonomy}.csv`"

    return format_table(
        "column | title | description | values", ((f"`{c.name}`", c.title, c.description, values(c)) for c in COLUMNS)
    )


def list_sites() -> str:
    """List the sites of the body with their sub-sites."""
    sites, sub_sites = load_taxonomy("site"), load_taxonomy("sub_site")
    within = {
        site: ", ".join(sub for sub in sub_sites.words if sub_sites.parent(sub) == site) for site in sites.words[:-1]
    }
    return format_table("site | sub-sites", within.items())


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": describe_commands,
    "recipe": partial(describe_config, TrainRecipe),
    "slide options": partial(describe_config, SlideOptions),
    "losses of segmentation": lambda: list_members(LOSSES.members, "segmentation"),
    "losses of classification": lambda: list_members(LOSSES.members, "classification"),
    "schedules": lambda: list_members(SCHEDULES.members, ""),
    "networks for segmentation": partial(describe_networks, "segmentation"),
    "networks for classification": partial(describe_networks, "classification"),
    "networks for whole slides": partial(describe_networks, "bags"),
    "networks for embeddings": partial(describe_networks, "embedding"),
    "metrics of masks": partial(list_metrics, metric_table.MASK_METRICS),
    "metrics of classes": partial(list_metrics, metric_table.CLASS_METRICS | metric_table.SET_METRICS),
    "metrics of depths": partial(list_metrics, metric_table.DEPTH_METRICS),
    "metrics of clicks": partial(list_metrics, metric_table.CLICK_METRICS),
    "metrics of papers": partial(list_metrics, metric_table.PAPER_METRICS),
    "columns": list_columns,
    "sites": list_sites,
    "fields of the synoptic report": synoptic_schema.field_list,
}
GENERATORS |= {
    f"components of {paper}": partial(paper_components.component_table, components)
    for paper, components in paper_components.read_components().items()
}
GENERATORS |= {
    f"remarks on {paper}": partial(paper_components.remarks, paper) for paper in paper_components.read_components()
}
