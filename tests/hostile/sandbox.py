"""A folder for one input with canaries around it, and an audit of all files that the process opens or changes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}(\.\w+)*$|\.tmp-[0-9a-f]{8,}-|\.part$")  # names of what is not complete yet
SECRET = b"canary-7f3a91c2"  # stands in every canary, so that a copy is recognized wherever it goes
HOMES = ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
WRITING = (
    "shutil.rmtree",
    "os.mkdir",
    "os.rmdir",
    "os.remove",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)
LIBRARIES = (sys.prefix + os.sep, sys.base_prefix + os.sep)


class Outside(RuntimeError):  # noqa: N818 - reads as what it is where it is raised
    """Something outside the sandbox was about to be changed, or a canary to be read."""


@dataclass
class Sandbox:
    """``inputs`` and ``outputs`` of one case below ``root``, between canaries that nothing may read or change."""

    root: Path
    escapes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Resolved, since the watch compares resolved paths and temporary folders are links on macOS.
        self.root = self.root.resolve()
        self.inputs, self.outputs = self.root / "box" / "in", self.root / "box" / "out"
        self.canaries = self.root / "victim"
        for folder in (self.inputs, self.outputs.parent, self.canaries, self.root / "home", self.root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("important.sh", "important.json", "dataset.csv"):
            (self.canaries / name).write_bytes(b"# " + SECRET)
        (self.canaries / "photo.png").write_bytes(_png() + SECRET)
        self._before = self._state()

    def start(self) -> None:
        """Take what the generator wrote as the state that must stay, and watch from here on."""
        self._before = self._state()
        tempfile.tempdir = str(self.root / "tmp")
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), tempfile.tempdir))
        _Watch.sandbox = self

    def stop(self) -> None:
        """End the watch."""
        _Watch.sandbox = None
        point_home_at(Path(os.environ["HOME"]).parent)
        tempfile.tempdir = None

    def findings(self) -> list[str]:
        """Describe violations; a case may allow changes below ``inputs``."""
        after = self._state()
        changed = sorted(
            path for path in self._before.keys() | after.keys() if self._before.get(path) != after.get(path)
        )
        found = [f"changed outside the output folder: {path}" for path in changed]
        left = [path for path in self._all(self.root / "box") if TEMPORARY.search(path.name)]
        found += [f"left a temporary file: {path.relative_to(self.root)}" for path in left]
        found += [f"carried a canary away: {p.relative_to(self.root)}" for p in self._all(self.outputs) if _is_copy(p)]
        return [*self.escapes, *found]

    def release(self) -> None:
        """Let the case change its own inputs, such as a case folder that is edited in place."""
        self._released = True

    def _state(self) -> dict[str, tuple[object, ...]]:
        kept = [self.canaries] if getattr(self, "_released", False) else [self.canaries, self.inputs]
        paths = [path for folder in kept for path in self._all(folder)]
        return {str(path.relative_to(self.root)): _print_of(path) for path in paths}

    @staticmethod
    def _all(folder: Path) -> list[Path]:
        found = []
        for where, folders, files in os.walk(folder):
            found += [Path(where, name) for name in (*folders, *files)]
        return found


class _Watch:
    """The one sandbox that is in use; an audit hook cannot be removed."""

    sandbox: Sandbox | None = None


def watch() -> None:
    """Stop this process from changing anything outside the sandbox in use, and note that it tried."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    sandbox = _Watch.sandbox
    if sandbox is None or not (event == "open" or event in WRITING):
        return
    for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
        if not isinstance(path, str | bytes | os.PathLike):
            continue
        if event in ("os.remove", "os.rmdir") and arguments[-1] != -1:  # of a tree whose removal was looked at
            continue
        writes = event != "open" or _writes(arguments)
        if not writes and _is_import(os.fsdecode(path), sandbox):
            continue
        real = os.path.realpath(os.fsdecode(path))
        inside = real.startswith((str(sandbox.root) + os.sep, os.path.realpath(os.environ.get("HOME", "/")) + os.sep))
        canary = real.startswith(str(sandbox.canaries) + os.sep)
        harmless = real.endswith((".pyc", "/null")) or "__pycache__" in real or real.startswith(("/proc/", "/dev/"))
        if (canary or (writes and not inside)) and not harmless:
            sandbox.escapes.append(f"{event} outside: {real.replace(str(sandbox.root), '<sandbox>')}")
            if writes:
                raise Outside(real)


def _is_import(path: str, sandbox: Sandbox) -> bool:
    """Whether a file is one of the thousands below the interpreter, which need not be resolved."""
    return path.startswith(LIBRARIES) and ".." not in path and not str(sandbox.canaries).startswith(LIBRARIES)


def _writes(arguments: tuple[object, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    requested = flags if isinstance(flags, int) else 0
    return (isinstance(mode, str) and any(letter in mode for letter in "wax+")) or bool(
        requested & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    )


def point_home_at(root: Path) -> None:
    """Let everything that keeps files of a user keep them below ``root``."""
    home = root / "home"
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(HOMES, str(home)))
    os.environ.update({"TMPDIR": str(root / "tmp"), "TEMP": str(root / "tmp"), "TMP": str(root / "tmp")})
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(home / "torchinductor")  # torch makes it when a part is imported
    os.environ.update({"WIN_PD_OVERRIDE_LOCAL_APPDATA": str(home), "WIN_PD_OVERRIDE_APPDATA": str(home)})


def rng_of(family: str, fault: str, seed: int) -> np.random.Generator:
    """Give the generator of a case: the same for the same three, on every platform."""
    return np.random.default_rng([seed, zlib.crc32(f"{family}:{fault}".encode())])


def remove(root: Path) -> None:
    """Remove a sandbox, also what was made read-only in it."""
    for where, folders, _ in os.walk(root):
        for name in folders:
            if not os.path.islink(os.path.join(where, name)):  # noqa: PTH114, PTH118 - names that are no text
                os.chmod(os.path.join(where, name), 0o700)  # noqa: PTH101, PTH118
    shutil.rmtree(root, ignore_errors=True)


def _print_of(path: Path) -> tuple[object, ...]:
    """What a file or folder is, without opening what would block."""
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return ("link or device",)
    state = path.stat()
    if path.is_dir():
        return ("folder", state.st_mode)
    digest = hashlib.blake2b(path.read_bytes()).hexdigest() if state.st_size < 2**22 else ""
    return (state.st_size, state.st_mtime_ns, state.st_mode, digest)


def _is_copy(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20 and SECRET in path.read_bytes()


def _png() -> bytes:
    """A photograph that a traversal might want."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), (3, 141, 59), np.uint8)).save(file, "PNG")
    return file.getvalue()
