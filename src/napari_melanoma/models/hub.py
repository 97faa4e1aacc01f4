"""Bundles on the Hugging Face hub: named ``hf:owner/name@commit``, downloaded once, uploaded, or written to a folder.

Only names that a user has given are downloaded (``download_named``); a name in a file is looked up in the cache.

A repository has the files of a bundle. Other files are not downloaded: a repository may contain pickled weights, which
could run code.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import BundleError, MelanomaError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.packages import require_packages
from napari_melanoma.core.parsing import read_object
from napari_melanoma.models.bundle import (
    CARD,
    CONFIG,
    WEIGHTS,
    BundleConfig,
    BundleInfo,
    check_header,
    check_weights,
    read_bundle,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf:"
ENCODER = "encoder:"  # before the name of a bundle whose encoder is used
FORM = f"{PREFIX}owner/name@commit"
NAME = re.compile(r"hf:(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
# The card, JSON, safetensors, and graphs without weights.
FILES = re.compile(r"README\.md|[\w-]+\.json|[\w-]+\.safetensors|graphs/(?:graphs\.json|[\w-]+\.onnx)", re.ASCII)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubName:
    """A model on the hub: its repository, and the commit, branch or tag; "" for the newest."""

    repository: str
    revision: str = ""

    def __str__(self) -> str:
        """Return the name that users write."""
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Read a name; raise if it has another form."""
        match = NAME.fullmatch(text)
        if match is None:
            raise BundleError(f"expected a model of the Hugging Face hub as {FORM}, found '{text}'.")
        return cls(match["repository"], match["revision"] or "")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    @property
    def folder(self) -> Path:
        from platformdirs import user_cache_path

        folder = user_cache_path("napari-melanoma", appauthor=False) / "hub"
        return folder / self.repository.replace("/", "--") / self.revision


def find_hub_bundle(text: str) -> BundleInfo:
    name = HubName.parse(text)
    if not name.is_pinned:
        raise BundleError(
            f"'{text}' names no commit, so that the model could change: expected {FORM}, with the 40 digits of a "
            f"commit. Find it with: napari-melanoma models pull {text}"
        )
    if not name.folder.is_dir():
        raise BundleError(
            f"the model '{text}' has not been downloaded. If you trust its authors: napari-melanoma models pull {text}"
        )
    bundle = read_bundle(name.folder)
    check_header(bundle.path / WEIGHTS)
    return bundle


def pin(name: HubName) -> HubName:
    """Return a name with the commit that its branch or tag is at now; by default that of the main branch."""
    if name.is_pinned:
        return name
    with _explained(f"cannot find {name}"):
        return HubName(name.repository, str(_api().model_info(name.repository, revision=name.revision or None).sha))


def is_missing(text: str) -> bool:
    """Whether a text is the pinned name of a model that has not been downloaded."""
    if NAME.fullmatch(text) is None:
        return False
    name = HubName.parse(text)
    return name.is_pinned and not name.folder.is_dir()


def download_named(values: object) -> None:
    """Download the models among the values that a user has given: pinned names, also in mappings and sequences."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            download_named(value)
    elif isinstance(values, str) and is_missing(text := values.removeprefix(ENCODER)):
        _download(HubName.parse(text))


def _download(name: HubName) -> None:
    """Download the files of a bundle, and check them, before they get their place."""
    log.info("downloading %s", name)
    with atomic_folder(name.folder) as folder:
        with _explained(f"cannot download {name}"):
            api = _api()
            files = _select_files(api.list_repo_files(name.repository, revision=name.revision), name)
            for file in files:
                api.hf_hub_download(name.repository, file, revision=name.revision, local_dir=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # of the library
        read_bundle(folder)
        check_weights(folder / WEIGHTS)


def _select_files(files: Sequence[str], name: HubName) -> list[str]:
    """Return the files of a bundle among those of a repository; raise if it contains no bundle."""
    if missing := [file for file in (CONFIG, WEIGHTS) if file not in files]:
        pickled = [file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
        found = f" Its weights are pickled ({pickled[0]}), which could run code." if pickled else ""
        raise BundleError(f"{name} is not a model of this program: {' and '.join(missing)} missing.{found}")
    return [file for file in files if FILES.fullmatch(file)]


def push_bundle(bundle: BundleInfo, name: HubName, *, private: bool = True, replace: bool = False) -> HubName:
    """Upload a bundle to a repository, which is created if necessary; return the name with its commit.

    It replaces an earlier bundle there; ``replace``: any other files with the names of those of a bundle, too.
    """
    if name.revision:
        raise BundleError(f"a model is uploaded as a new commit: expected {PREFIX}owner/name, found '{name}'.")
    paths = _list_files(bundle)
    with _explained(f"cannot upload '{bundle.name}' to {name}"):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        api = _api()
        api.create_repo(name.repository, private=private, exist_ok=True)
        present = HubName(name.repository, str(api.model_info(name.repository).sha))
        files = api.list_repo_files(name.repository, revision=present.revision)
        earlier = [file for file in files if FILES.fullmatch(file)]
        if earlier and not (replace or (CONFIG in earlier and _has_bundle(api, present))):
            raise BundleError(
                f"{name} contains {format_names(earlier)}, but no model of this program. Choose another repository, or "
                "replace these files with --replace."
            )
        commit = api.create_commit(
            name.repository,
            [
                *(CommitOperationAdd(file, str(path)) for file, path in paths.items()),
                *(CommitOperationDelete(file) for file in earlier if file not in paths),
            ],
            commit_message=f"Upload {bundle.name}",
            parent_commit=present.revision,  # refused if another user has changed the files meanwhile
        )
    return HubName(name.repository, str(commit.oid))


def export_repository(bundle: BundleInfo, folder: Path) -> Path:
    """Write the files that ``push_bundle`` uploads to a new folder."""
    if folder.exists():
        raise BundleError(f"{folder} exists already: expected a new folder. Choose another name.")
    with atomic_folder(folder) as gathering:
        for file, path in _list_files(bundle).items():
            (gathering / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, gathering / file)
    return folder


def _list_files(bundle: BundleInfo) -> dict[str, Path]:
    """Return the files of a repository with the paths of their sources; raise if the bundle cannot be shared."""
    check_weights(bundle.path / WEIGHTS)
    if not bundle.card.strip():
        raise BundleError(f"'{bundle.name}' has no card. Describe the model in {bundle.path / CARD} first.")
    paths = {path.relative_to(bundle.path).as_posix(): path for path in sorted(bundle.path.rglob("*"))}
    return {file: path for file, path in paths.items() if FILES.fullmatch(file)}


def _has_bundle(api: HfApi, name: HubName) -> bool:
    """Whether the configuration at a commit is that of a bundle."""
    with TemporaryDirectory() as folder:
        path = Path(api.hf_hub_download(name.repository, CONFIG, revision=name.revision, local_dir=folder))
        try:
            BundleConfig.parse(read_object(path), str(path))
        except MelanomaError:
            return False
        return True


def _api() -> HfApi:
    """Return the client of the hub, or of the server that ``HF_ENDPOINT`` names."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="napari-melanoma")


@contextmanager
def _explained(failure: str) -> Iterator[None]:
    """Turn the errors of the client, which are of many kinds, into one that says what to do."""
    require_packages("models of the Hugging Face hub", ("huggingface_hub",))
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise BundleError(
            f"{failure}: {reason}. Check the name and the network connection; for private models, log in with "
            "'hf auth login' or set HF_TOKEN."
        ) from error
