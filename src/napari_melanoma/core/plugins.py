"""Plug-ins: what other packages add to the families of this package.

A package names its objects as entry points of Python, in a group ``napari_melanoma.<family>`` for each family.
They are listed without being imported; an object is loaded when its family is first used. An object that cannot be used
is left out, logged, and reported by ``doctor``.
"""

from __future__ import annotations

import logging
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from napari_melanoma.core.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from importlib.metadata import EntryPoint, EntryPoints

PACKAGE = "napari-melanoma"
PREFIX = "napari_melanoma."  # of the groups of entry points
# The families, and where each is defined. They are imported when they are used.
FAMILIES = {
    "networks": "napari_melanoma.models.zoo:NETWORKS",
    "losses": "napari_melanoma.training.losses:LOSSES",
    "schedules": "napari_melanoma.training.schedules:SCHEDULES",
    "augmentations": "napari_melanoma.training.augmentation_config:AUGMENTATIONS",
    "data_sources": "napari_melanoma.data.collections:SOURCES",
    "data_exports": "napari_melanoma.data.exports:DATA_EXPORTS",
    "metrics": "napari_melanoma.metrics.mask_metrics:METRICS",
    "report_sections": "napari_melanoma.reports.report_sections:REPORT_SECTIONS",
    "exports": "napari_melanoma.reports.export_formats:EXPORTS",
    "recipes": "napari_melanoma.runs.shipped_recipes:RECIPES",
    "sections": "napari_melanoma.ui.sections:SECTIONS",
    "lesion_sections": "napari_melanoma.ui.sections:LESION_SECTIONS",
    "commands": "napari_melanoma.cli:COMMANDS",
}
Member = TypeVar("Member")
Expected = TypeVar("Expected")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """An object that a package adds to a family.

    ``value``: where it is, such as ``my_package.losses:log_cosh``. ``package``: the name that pip knows.
    """

    family: str
    name: str
    value: str
    package: str
    version: str
    load: Callable[[], object] = field(repr=False, compare=False)

    @property
    def origin(self) -> str:
        """The package with its version."""
        return f"{self.package} {self.version}"

    @property
    def entry_point(self) -> str:
        """The entry point, as in the settings of a package."""
        return f"{PREFIX}{self.family}: {self.name} = {self.value}"

    def make_error(self, reason: str) -> PluginError:
        """Return the error for users; ``reason``: what was expected, and what was found."""
        return PluginError(
            f"'{self.name}' of {self.origin} cannot be used (entry point {self.entry_point}): {reason.rstrip('.')}. "
            f"Update the package: pip install --upgrade {self.package}"
        )


class Family(Generic[Member]):
    """The members of one kind, such as losses: those of this package, then those of plug-ins.

    ``list_own``: returns the members of this package by name. ``convert``: returns the member of an object of a plug-in
    with its name; raises ``TypeError`` or ``ValueError`` for any other object. ``title``: of a member, for users.
    ``order``: names of members in the order of lists; others follow.
    """

    def __init__(
        self,
        name: str,
        list_own: Callable[[], Mapping[str, Member]],
        convert: Callable[[str, object], Member],
        title: Callable[[Member], str],
        order: Sequence[str] = (),
    ) -> None:
        self.name, self._list_own, self._convert, self._title = name, list_own, convert, title
        self._order = {one: position for position, one in enumerate(order)}
        self._lock = threading.RLock()
        self._plugins: tuple[Plugin, ...] | None = None  # those of ``_members``
        self._members: dict[str, Member] = {}
        self._origins: dict[str, Plugin] = {}
        self._errors: dict[Plugin, PluginError] = {}

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by name; those of plug-ins are loaded at first use, and again after ``refresh``."""
        plugins = list_plugins()
        if self._plugins is not plugins:
            with self._lock:
                if self._plugins is not plugins:
                    self._load(plugins)
        return self._members

    @property
    def errors(self) -> Mapping[Plugin, PluginError]:
        """The plug-ins of this family that cannot be used, with the reason."""
        _ = self.members
        return self._errors

    def find_plugin(self, name: str) -> Plugin | None:
        """Return the plug-in that adds a member; None for the members of this package."""
        _ = self.members
        return self._origins.get(name)

    def label(self, name: str) -> str:
        """Return the title of a member for users, with the package if it is of a plug-in."""
        title, plugin = self._title(self.members[name]), self.find_plugin(name)
        return title if plugin is None else f"{title} ({plugin.package})"

    def load_plugin(self, plugin: Plugin) -> Member:
        """Load the object of one plug-in; raise ``PluginError`` if it cannot be used."""
        try:
            with _torch_blocked():
                return self._convert(plugin.name, plugin.load())
        except (Exception, SystemExit) as error:  # whatever the code of a plug-in raises
            raise plugin.make_error(describe_plugin_error(error)) from error

    def explain_unknown(self, name: str) -> str:
        """Explain why there is no member of a name, if a plug-in lists it; "" for any other name."""
        _ = self.members
        return next((str(error) for plugin, error in self._errors.items() if plugin.name == name), "")

    def _load(self, plugins: tuple[Plugin, ...]) -> None:
        members = dict(self._list_own())
        origins: dict[str, Plugin] = {}
        errors: dict[Plugin, PluginError] = {}
        for plugin in plugins:
            is_own = plugin.package == PACKAGE and plugin.name in members  # listed by an earlier version of the source
            if plugin.family != self.name or is_own:
                continue
            try:
                if plugin.name in members:
                    owner = origins[plugin.name].origin if plugin.name in origins else PACKAGE
                    raise plugin.make_error(f"expected a new name, found one that {owner} uses")
                members[plugin.name] = self.load_plugin(plugin)
                if plugin.package != PACKAGE:
                    origins[plugin.name] = plugin
            except PluginError as error:
                errors[plugin] = error
                expected = (TypeError, ValueError, type(None))
                log.warning("%s", error, exc_info=not isinstance(error.__cause__, expected))
        members = dict(sorted(members.items(), key=lambda item: self._order.get(item[0], len(self._order))))
        self._members, self._origins, self._errors, self._plugins = members, origins, errors, plugins


def find_family(name: str) -> Family[Any]:
    """Return a family by its name, such as ``losses``; its module is imported."""
    module, _, attribute = FAMILIES[name].partition(":")
    family: Family[Any] = getattr(import_module(module), attribute)
    return family


@cache
def list_plugins() -> tuple[Plugin, ...]:
    """List the objects of all plug-ins, sorted by package, without importing them."""
    from importlib.metadata import entry_points  # not above: it takes a tenth of the start of a command

    try:
        installed: Any = entry_points()
    except (OSError, TypeError, ValueError):  # the list of any installed package is damaged
        installed = _list_readable_entry_points()
    groups = [group for group in installed.groups if group.startswith(PREFIX)]
    ours = [entry for group in groups for entry in installed.select(group=group) if entry.dist is not None]
    # Each ``name`` and ``version`` parses the metadata of the package, which is the same object for all of its entries
    packages = {id(entry.dist): entry.dist for entry in ours}
    names = {key: (package.name, package.version) for key, package in packages.items()}
    found = [
        Plugin(entry.group.removeprefix(PREFIX), entry.name, entry.value, *names[id(entry.dist)], entry.load)
        for entry in ours
        if names[id(entry.dist)][0]
    ]
    found.sort(key=lambda plugin: (plugin.package != PACKAGE, plugin.package, plugin.family, plugin.name))
    return tuple(dict.fromkeys(found))


def _list_readable_entry_points() -> EntryPoints:
    """List the entry points of all packages but those whose list of them is damaged."""
    from importlib.metadata import EntryPoints, distributions

    readable: list[EntryPoint] = []
    for package in distributions():
        try:
            readable += package.entry_points
        except (OSError, TypeError, ValueError) as error:
            place = getattr(package, "_path", "a package")  # its name may be missing, too
            log.warning("The entry points in %s cannot be read, so it is left out: %s", place, error)
    return EntryPoints(readable)


def list_packages() -> dict[str, list[Plugin]]:
    """List what other packages add, by their names with versions."""
    packages: dict[str, list[Plugin]] = {}
    for plugin in list_plugins():
        if plugin.package != PACKAGE:
            packages.setdefault(plugin.origin, []).append(plugin)
    return packages


def describe_objects(objects: Iterable[Plugin]) -> str:
    """List objects by family, such as ``losses: log_cosh; networks: vessels``."""
    names: dict[str, list[str]] = {}
    for plugin in objects:
        names.setdefault(plugin.family.replace("_", " "), []).append(plugin.name)
    return "; ".join(f"{family}: {', '.join(values)}" for family, values in names.items())


def refresh() -> None:
    """List the plug-ins again, such as after a package was installed."""
    list_plugins.cache_clear()


class Spec(Protocol):
    """The metadata of a member: its name in recipes and commands, and its title for users."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...


class SpecMember(Protocol):
    """A member with its metadata."""

    @property
    def spec(self) -> Spec: ...


Described = TypeVar("Described", bound=SpecMember)


def object_family(name: str, module: str, kind: type[Described], made_by: str) -> Family[Described]:
    """Return the family of all objects of a type: in a module of this package, and of plug-ins.

    ``made_by``: how a plug-in makes such an object, for an error.
    """

    def convert(entry_name: str, found: object) -> Described:
        member = expect(found, kind, made_by)
        expect_name(entry_name, member.spec.name)
        return member

    def list_own() -> dict[str, Described]:
        return _by_name([value for value in vars(sys.modules[module]).values() if isinstance(value, kind)], module)

    return Family(name, list_own, convert, lambda member: member.spec.title)


def _by_name(own: Sequence[Described], origin: str) -> dict[str, Described]:
    members = {member.spec.name: member for member in sorted(own, key=lambda member: member.spec.name)}
    if len(members) < len(own):
        raise ConfigError(f"{origin} has two objects of the same name. Choose another name for one of them.")
    return members


def module_family(
    name: str,
    package: str,
    kind: type,
    function: str,
    make: Callable[[Any, Any], Described],
    attribute: str = "SPEC",
    list_others: Callable[[], Iterable[Described]] = tuple,
) -> Family[Described]:
    """Return the family of all modules with ``SPEC``, of a type, and a function: of a package, and of plug-ins.

    ``package``: "" if this package has no such modules. ``attribute``: the name for ``SPEC`` in a package whose modules
    are of several families, each of one or more. ``list_others``: returns members of this package that are no modules.
    """

    def convert(entry_name: str, found: object) -> Described:
        faults = [
            f"{attribute} is {_describe_object(getattr(found, attribute, None))}"
            for attribute, expected in (("SPEC", kind), (function, FunctionType))
            if not isinstance(getattr(found, attribute, None), expected)
        ]
        if faults:
            raise TypeError(f"expected a module with SPEC ({kind.__name__}) and {function}, found: {'; '.join(faults)}")
        member = make(getattr(found, "SPEC"), getattr(found, function))  # noqa: B009 - any object
        expect_name(entry_name, member.spec.name)
        return member

    def list_own() -> dict[str, Described]:
        modules = import_submodules(import_module(package), attribute, function).values() if package else ()
        found = [make(getattr(module, attribute), getattr(module, function)) for module in modules]
        return _by_name([*found, *list_others()], name)

    return Family(name, list_own, convert, lambda member: member.spec.title)


def import_submodules(package: ModuleType, listed: str, *required: str) -> dict[str, ModuleType]:
    """Import the modules of a package, by the name of their object ``listed``, in alphabetical order of these names.

    Modules with a file name starting with ``_`` are skipped, and those without ``listed`` if it is not ``SPEC``. Each
    other module must have all ``required`` objects.
    """
    modules: dict[str, ModuleType] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        if entry.name.startswith("_"):
            continue
        module = import_module(f"{package.__name__}.{entry.name}")
        if listed != "SPEC" and not hasattr(module, listed):
            continue
        missing = [name for name in (listed, *required) if not hasattr(module, name)]
        if missing:
            raise ConfigError(
                f"{module.__file__} is listed as one of {package.__name__}, but has no {' and no '.join(missing)}. Add "
                "what is missing, or begin the file name with '_' if the module only has code that others share."
            )
        name = getattr(module, listed).name
        if name in modules:
            raise ConfigError(
                f"{module.__file__} has the name '{name}', which {modules[name].__file__} already has. Choose another "
                f"name in its {listed}."
            )
        modules[name] = module
    return dict(sorted(modules.items()))


def expect(found: object, kind: type[Expected], made_by: str) -> Expected:
    """Return an object of a plug-in if it has the expected type; ``made_by``: how it is made, for the error."""
    if isinstance(found, kind):
        return found
    raise TypeError(f"expected a {kind.__name__} ({made_by}), found {_describe_object(found)}")


def expect_name(name: str, found: str) -> None:
    """Raise if an object of a plug-in has another name than its entry point."""
    if name != found:
        raise ValueError(f"expected the name of its entry point, '{name}', found '{found}'")


def describe_plugin_error(error: BaseException) -> str:
    """Describe an error of the code of a plug-in in a line; unexpected ones with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (TypeError, ValueError, PluginError)) else f"{type(error).__name__}: {text}"


def _describe_object(value: object) -> str:
    if value is None:
        return "missing"
    return f"the module {value.__name__}" if isinstance(value, ModuleType) else f"a {type(value).__name__}"


class _TorchBlocker(MetaPathFinder):
    """Refuses imports of torch by one thread: in a viewer, torch may crash it (docs/explanation/architecture.md)."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "torch" and threading.get_ident() == self._thread:
            raise PluginError("it imports torch when it is loaded, expected imports of torch inside functions only")
        return None


@contextmanager
def _torch_blocked() -> Iterator[None]:
    if "torch" in sys.modules:
        yield
        return
    blocker = _TorchBlocker()
    sys.meta_path.insert(0, blocker)
    try:
        yield
    finally:
        sys.meta_path.remove(blocker)
