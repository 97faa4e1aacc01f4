"""Files in the user's plug-in folder: listed without being run, and used once the user has confirmed their content.

A file is a module of Python that names its objects in a dictionary ``ENTRY_POINTS``, by family and name, such as
``{"losses": {"log_cosh": "log_cosh"}}``; an empty value is the module itself. A confirmation is the SHA-256 of the
content, so a changed file must be confirmed again. Files are never taken from data sets or bundles.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Literal

from napari_melanoma.core.errors import InputError, PluginError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import read_limited, read_object_or_empty

VARIABLE = "ENTRY_POINTS"
MAX_BYTES = 1_000_000
CONFIRM_COMMAND = "napari-melanoma doctor --confirm-plugin"
LOCK_TIMEOUT_S = 5.0
_module_lock = RLock()  # of the modules of files: families in several threads may need the same file


@dataclass(frozen=True)
class PluginFile:
    """A file of the plug-in folder.

    ``objects``: where its objects are in the file, by family and name. ``fault``: why it cannot be used, "" if it can.
    """

    path: Path
    sha256: str
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    state: Literal["confirmed", "new", "changed"] = "new"
    fault: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    def read_text(self) -> str:
        """Return the listed content as Python reads it, with all hidden characters as escapes.

        Raises ``InputError`` if the file has another content now.
        """
        from importlib.util import decode_source

        content = _read_content(self.path, self.sha256)
        if content is None:
            raise InputError(f"{self.path} was changed in the meantime. Open the list of plug-ins again.")
        try:
            text = decode_source(content)  # it may state its encoding
        except (SyntaxError, UnicodeError):
            text = content.decode("utf-8", "backslashreplace")
        return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)

    def describe_contents(self) -> str:
        """List what the file adds, such as ``losses: log_cosh``; or state why it cannot be used."""
        return self.fault or "; ".join(f"{family}: {', '.join(values)}" for family, values in self.objects.items())

    def describe_state(self) -> str:
        """State whether the file is confirmed, and how to confirm it."""
        if self.state == "confirmed":
            return f"{self.name} is confirmed"
        what = "is new" if self.state == "new" else "has changed since it was confirmed"
        return (
            f"the plug-in file {self.name} {what} and is not used. Read it ({self.path}), and if you trust it: "
            f"{CONFIRM_COMMAND} {self.name}@{self.sha256}"
        )


def plugin_folder() -> Path:
    """Return the folder of the user's plug-in files; it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "plugins"


def list_plugin_files() -> list[PluginFile]:
    """List the files of the plug-in folder by name; they are read, not run. Names that begin with ``_`` are skipped."""
    folder = plugin_folder()
    if not folder.is_dir():
        return []
    confirmed = read_object_or_empty(_confirmation_file())
    paths = sorted(path for path in folder.glob("*.py") if path.is_file() and path.name[0] not in "._")
    return [_read_file(path, confirmed.get(path.name)) for path in paths]


def confirm_plugin_file(name: str, sha256: str) -> PluginFile:
    """Record that the user confirmed a file of the plug-in folder.

    ``sha256``: of the content that the user has seen. ``core.plugins.refresh`` makes its objects available.
    """
    files = {file.name: file for file in list_plugin_files()}
    if name not in files:
        known = ", ".join(files) or "none"
        raise InputError(f"{plugin_folder()} has no plug-in file '{name}' (files: {known}). Copy it there first.")
    file = files[name]
    if file.fault:
        raise InputError(f"{file.path} cannot be used: {file.fault}. Correct the file.")
    if not sha256:
        raise InputError(f"expected {name}@SHA256, found {name}: {file.describe_state()}")
    if sha256 != file.sha256:
        raise InputError(f"{file.path} was changed in the meantime. Read it again, then confirm it.")
    target = _confirmation_file()
    with hold_lock(target.with_suffix(".lock"), LOCK_TIMEOUT_S):
        write_json(target, {**read_object_or_empty(target), name: file.sha256})
    return file


def _confirmation_file() -> Path:
    """Return the file with the confirmed contents: not in the plug-in folder, which may be copied as a whole."""
    from platformdirs import user_config_path

    return user_config_path("napari-melanoma", appauthor=False) / "confirmed-plugins.json"


def _read_file(path: Path, confirmed: object) -> PluginFile:
    try:
        content = read_limited(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        return PluginFile(path, "", fault=f"it cannot be read: {error}")
    sha256 = hashlib.sha256(content).hexdigest()
    state: Literal["confirmed", "new", "changed"]
    state = "new" if confirmed is None else "confirmed" if confirmed == sha256 else "changed"
    try:
        return PluginFile(path, sha256, _parse_objects(content, path.name), state)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return PluginFile(path, sha256, state=state, fault=f"{type(error).__name__}: {error}")


def _parse_objects(content: bytes, name: str) -> dict[str, dict[str, str]]:
    """Read the dictionary ``ENTRY_POINTS`` of a module without running it."""
    import ast  # not needed for the help

    for statement in ast.parse(content, name).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == VARIABLE for target in targets):
            objects = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
            if _is_table(objects):
                return objects
    raise ValueError(f'it has no dictionary such as {VARIABLE} = {{"losses": {{"log_cosh": "log_cosh"}}}}')


def _is_table(objects: object) -> bool:
    """Whether an object is a dictionary of dictionaries of texts."""
    tables = list(objects.values()) if isinstance(objects, dict) else [None]
    texts = [text for table in tables if isinstance(table, dict) for pair in table.items() for text in pair]
    return all(isinstance(table, dict) for table in tables) and all(isinstance(text, str) for text in texts)


def _read_content(path: Path, sha256: str) -> bytes | None:
    """Return the content of a file; None if it is not the one with this SHA-256."""
    content = read_limited(path, MAX_BYTES)
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def load_object(path: Path, sha256: str, attribute: str) -> object:
    """Run a file if it still has the confirmed content, once in a process, and return an object of it."""
    module_name = f"napari_melanoma_plugin_{path.stem}_{sha256[:16]}"
    with _module_lock:
        module = sys.modules.get(module_name)
        if module is None:
            content = _read_content(path, sha256)
            if content is None:
                raise PluginError(
                    "it was changed after it was listed. Restart the program, then confirm the file again"
                )
            module = sys.modules[module_name] = ModuleType(module_name)
            module.__file__ = str(path)
            try:
                exec(compile(content, path, "exec"), vars(module))
            except BaseException:
                del sys.modules[module_name]
                raise
    return getattr(module, attribute) if attribute else module
