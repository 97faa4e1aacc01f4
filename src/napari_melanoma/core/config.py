"""The base class of all configurations, their TOML files, and messages about wrong values for users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from napari_melanoma.core.errors import ConfigError, ConfigFault, MalformedFile
from napari_melanoma.core.files import write_text
from napari_melanoma.core.parsing import parse_toml, read_toml_table, shorten
from napari_melanoma.core.renamed_keys import RENAMED, rename_keys

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, ErrorDetails

    from napari_melanoma.core.plugins import Family

SCHEMA_FAULTS = ("extra_forbidden", "missing")  # faults that do not concern a value
RANGE_FAULTS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
LIMIT_TEXTS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
MAX_FAULTS = 50  # faults that a message lists
KNOWN_PREFIX = "(known: "  # start of a list of the known keys, which a message contains only once
AnyConfig = TypeVar("AnyConfig", bound="Config")


class Config(BaseModel):
    """Base of every configuration: frozen, compared by content; unknown keys are errors."""

    # Validators are built when they are first used, which saves some milliseconds when a dock opens.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _rename_earlier_keys(cls, values: object) -> object:
        return rename_keys(cls.__name__, values) if cls.__name__ in RENAMED and isinstance(values, dict) else values

    @field_validator("*", mode="before")
    @classmethod
    def _check_no_boolean_number(cls, value: object, info: ValidationInfo) -> object:
        """Raise for true and false where a number is expected, which pydantic would accept as 1 and 0."""
        if _contains_boolean(value):  # rare, and faster to check than the annotation
            annotation = cls.model_fields[str(info.field_name)].annotation
            if _is_boolean_for_number(value, [annotation]):
                from pydantic_core import PydanticCustomError

                message = "expected a number" if isinstance(value, bool) else "expected numbers, not true or false"
                raise PydanticCustomError("number_type", message)
        return value

    @classmethod
    def parse(cls, values: dict[str, Any], where: str) -> Self:
        """Build the configuration from plain values; ``where``: their origin, with which an error message starts."""
        try:
            return cls.model_validate(values)
        except ConfigError as error:  # from a nested configuration, such as a network's options
            raise ConfigError(f"{where}: {error}", error.faults) from None
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise ConfigError(
                f"{where}: {_summarize_faults(faults, cls).rstrip('.')}.",
                tuple(
                    ConfigFault(
                        ".".join(str(part) for part in _location(fault)), fault["input"], _describe_expected(fault, cls)
                    )
                    for fault in faults[:MAX_FAULTS]
                    if fault["type"] not in SCHEMA_FAULTS
                ),
            ) from None


def _contains_boolean(value: object) -> bool:
    """Whether a value is true or false, or has such an item at any depth."""
    if isinstance(value, dict):
        return any(map(_contains_boolean, value.values()))
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_contains_boolean, value)))


def _is_boolean_for_number(value: object, annotations: Iterable[object]) -> bool:
    """Whether a boolean is given where a number is expected, also as an item of a collection."""
    if not isinstance(value, bool | list | tuple | dict):
        return False
    kinds = [kind for annotation in annotations for kind in _union_types(annotation)]
    if isinstance(value, bool):
        return bool not in kinds and (int in kinds or float in kinds)
    if isinstance(value, dict):
        value_types = [get_args(kind)[-1] for kind in kinds if get_origin(kind) in (dict, Mapping)]
        return bool(value_types) and any(_is_boolean_for_number(item, value_types) for item in value.values())
    item_types = [part for kind in kinds if get_origin(kind) not in (dict, Mapping) for part in get_args(kind)]
    return bool(item_types) and any(_is_boolean_for_number(item, item_types) for item in value)


def _union_types(annotation: object) -> Iterator[object]:
    """Yield the alternatives of a union, or the annotation itself, without ``Annotated``."""
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _union_types(part)
    elif get_origin(annotation) is Annotated:
        yield from _union_types(get_args(annotation)[0])
    else:
        yield annotation


class OneOf:
    """Mark a text field as one of several names, which are only listed when needed.

    Written ``Annotated[str, OneOf(names)]``; a form offers the names as a choice, by the text that ``title`` returns.
    ``explain``: returns why an unknown name is not available, "" for most.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        title: Callable[[str], str] = str,
        explain: Callable[[str], str] = lambda name: "",
    ) -> None:
        self._names, self._explain = names, explain
        self.title = title

    @classmethod
    def members_of(cls, family: Family[Any]) -> OneOf:
        """Allow the members of a family, including those of plug-ins."""
        return cls(lambda: family.members, family.label, family.explain_unknown)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names())

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        from pydantic_core import PydanticCustomError

        if name not in self.names:
            if reason := self._explain(name):
                raise PydanticCustomError("one_of", "{reason}", {"reason": reason})
            known = ", ".join(self.names)
            raise PydanticCustomError("one_of", "no such name (known: {known})", {"known": known})
        return name


@dataclass(frozen=True)
class OptionsOf:
    """Mark a table of options whose keys depend on the value of another field of the same configuration.

    Written ``Annotated[dict[str, Any], OptionsOf("architecture", config_of)]``; ``config_of`` returns the configuration
    class for a value of that field, and a form shows its fields. ``field``: "" if they depend on the plug-ins alone;
    then a form shows nothing if there are none.
    """

    field: str
    config_of: Callable[[str], type[Config]]


@dataclass(frozen=True)
class Computed:
    """Mark a field that the program fills in, such as sizes that follow from data; forms do not show it."""


def omit_unset(*fields: str) -> Any:  # noqa: ANN401 - pydantic has no public type for it
    """Return a serializer for a configuration that leaves out fields that are None, or empty tuples.

    For fields that earlier versions, which refuse unknown keys, do not have.
    """

    def serialize(self: Config, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {key: one for key, one in values.items() if key not in fields or one not in (None, (), [])}

    return model_serializer(mode="wrap")(serialize)


def computed_fields(config: type[BaseModel]) -> set[str]:
    """Return the names of the fields that the program fills in."""
    fields = config.model_fields.items()
    return {name for name, info in fields if any(isinstance(item, Computed) for item in info.metadata)}


def field_title(name: str, info: FieldInfo) -> str:
    """Return the label of a field for users: its title, or if it has none its name in words."""
    words = info.title or name.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}"


def _summarize_faults(faults: list[ErrorDetails], model: type[Config]) -> str:
    """Describe the faults of a configuration, each key once; at most ``MAX_FAULTS``."""
    messages: dict[str, list[str]] = {}  # by key
    listed: set[str] = set()
    for fault in faults[:MAX_FAULTS]:
        key, message = _describe_fault(fault, model)
        repeated = message.startswith(KNOWN_PREFIX) and message in listed
        listed.add(message)
        messages.setdefault(key, []).append("" if repeated else message)
    text = "; ".join(f"{key} {' or '.join(dict.fromkeys(parts))}".strip() for key, parts in messages.items())
    unlisted = len(faults) - MAX_FAULTS
    return f"{text}; and {unlisted} more" if unlisted > 0 else text


def _describe_fault(fault: ErrorDetails, model: type[Config]) -> tuple[str, str]:
    """Describe one fault of a configuration: first the key with its value, then what is wrong or allowed."""
    location = _location(fault)
    key = shorten(".".join(str(part) for part in location)) or "(top)"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields_at(model, location[:-1])))
        return f"unknown key '{key}'", f"{KNOWN_PREFIX}{known})" if known else ""
    if fault["type"] == "missing":
        return f"key '{key}'", "is missing"
    if fault["type"] == "value_error" and isinstance(fault["input"], Mapping | BaseModel):
        return f"'{key}':" if location else "", _describe_expected(fault, model)  # the message names the values
    return f"'{key}' is {shorten(repr(fault['input']))};", _describe_expected(fault, model)


def _describe_expected(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """Describe what was expected; for a number out of range by both limits, as pydantic names only one."""
    location = _location(fault)
    limits: dict[str, object] = {}
    if fault["type"] in RANGE_FAULTS and location:
        names = tuple(part for part in location if not isinstance(part, int))  # an item has the limits of its list
        field = _fields_at(model, names[:-1]).get(str(names[-1])) if names else None
        metadata = [*field.metadata, *_type_metadata(field.annotation)] if field else []
        values = [(name, getattr(item, name, None)) for item in metadata for name in LIMIT_TEXTS]
        limits = {LIMIT_TEXTS[name]: limit for name, limit in values if limit is not None}
    if limits:
        text = " and ".join(f"{words} {limit:g}" for words, limit in limits.items())
        return f"expected a number {'of ' if text.startswith('at') else ''}{text}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _type_metadata(kind: object) -> list[object]:
    """Collect the metadata of a type and its parts, such as the limits of ``Annotated[int, Field(ge=1)] | None``."""
    fields = list(getattr(kind, "__metadata__", ()))
    own = [item for field in fields for item in (*getattr(field, "metadata", ()), field)]
    return own + [item for part in get_args(kind) if part not in fields for item in _type_metadata(part)]


def _location(fault: ErrorDetails) -> tuple[int | str, ...]:
    return tuple(part for part in fault["loc"] if not _names_a_type(part))


def _names_a_type(part: int | str) -> bool:
    """Whether a part of a location is an alternative of a union, which pydantic adds, rather than a field."""
    return isinstance(part, str) and (part.startswith(("constrained-", "literal[")) or part in ("int", "float", "str"))


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """Return the fields of the nested configuration at a location, which may be optional; empty if it is ambiguous."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = nested_config(field.annotation) if field else None
        if nested is None:
            return {}
        model = nested
    return dict(model.model_fields)


def nested_config(annotation: object) -> type[BaseModel] | None:
    """Return the configuration class of a field, which may be optional; None if there is not exactly one."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    models = [kind for kind in kinds if issubclass(kind, BaseModel)]
    return models[0] if len(models) == 1 else None


def read_toml(path: Path, model: type[AnyConfig]) -> AnyConfig:
    try:
        values = read_toml_table(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}. Name an existing TOML file.") from error
    except MalformedFile as error:
        raise ConfigError(f"cannot read {path}: {error.reason}. Correct the file.") from error
    return model.parse(values, str(path))


def write_toml(path: Path, config: Config) -> None:
    """Write a configuration as TOML, atomically; fields that are ``None`` are left out."""
    import tomli_w

    write_text(path, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))


def overlay_recipe_values(values: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Update the values of a recipe recursively, including the options of its network one by one."""
    options = {**values.get("model", {}).get("options", {}), **updates.get("model", {}).get("options", {})}
    return overlay_values(overlay_values(values, updates), {"model": {"options": options}})


def change_values(config: AnyConfig, texts: Iterable[str], where: str) -> AnyConfig:
    """Return a configuration with other values, given as ``key=value`` with dotted keys, such as ``data.split=all``.

    Values are written as in TOML; text needs no quotation marks, and a list of texts may be separated by commas.
    ``where``: their origin, with which an error message starts.
    """
    values: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not key or not equals:
            raise ConfigError(f"{where}: expected KEY=VALUE, such as epochs=3; found '{text}'.")
        *tables, name = key.split(".")
        field = _fields_at(type(config), tuple(tables)).get(name)
        values = overlay_keys(values, {key: _parse_value(value, field.annotation if field else None)})
    return type(config).parse(values, where)


def overlay_keys(values: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Update values of a recipe by their dotted keys, such as ``model.input_size``."""
    for key, value in updates.items():
        inside = reduce(lambda inner, table: {table: inner}, reversed(key.split(".")), value)
        values = overlay_recipe_values(values, inside)
    return values


def _parse_value(text: str, annotation: object) -> object:
    """Read a value as TOML, or as text where the field expects text or the value is no TOML."""
    try:
        value = parse_toml(f"value = {text}", "a value")["value"]
    except (MalformedFile, KeyError):
        value = text
    kinds = list(_union_types(annotation))
    if str in kinds and not isinstance(value, str) and not {int, float, bool}.intersection(kinds):
        return text
    if any(get_origin(kind) is tuple for kind in kinds) and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return value


def overlay_values(values: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Update values recursively; tables with the key ``options``, those of networks, are replaced as a whole."""
    merged = dict(values)
    for key, value in updates.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlay_values(merged[key], value) if both_tables and key != "options" else value
    return merged


def flatten_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys, such as ``model.start``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten_values(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
