"""Models are uploaded to and downloaded from a stand-in of the Hugging Face hub, by the library's own client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, Hub, serve
from PIL import Image
from typer.testing import CliRunner

import napari_melanoma as nm
from napari_melanoma.cli import app
from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.hub import HubName, download_named, find_hub_bundle, is_missing, pin, push_bundle
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER, find_bundle, list_bundles

pytest.importorskip("huggingface_hub")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("user_folders"),
    # huggingface_hub 2.4 uploads by an argument that httpx2 has renamed.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"),
]
CLINIC = HubName("our-clinic/lesion")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    made = Hub()
    server = serve(made)
    host, port = server.server_address[:2]
    monkeypatch.setenv("HF_ENDPOINT", f"http://{host}:{port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield made
    server.shutdown()
    server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_upload_and_download(hub: Hub, melanoma_bundle: BundleInfo) -> None:
    pushed = push_bundle(melanoma_bundle, CLINIC)
    assert pushed.is_pinned
    assert hub.private == {"our-clinic/lesion": True}
    expected = files_of(melanoma_bundle.path)
    assert {name: data for name, data in hub.files_at("our-clinic/lesion", "main")[1].items() if name in expected} == (
        expected
    )
    assert pin(CLINIC) == pushed
    hub.requests.clear()
    assert is_missing(str(pushed))
    with pytest.raises(BundleError, match=rf"has not been downloaded.*models pull {pushed}"):
        find_bundle(str(pushed))
    assert hub.requests == [], "a name in a received file is not looked up on the hub"
    download_named({"model": {"start": f"encoder:{pushed}"}})
    found = find_bundle(str(pushed))
    assert files_of(found.path) == expected, "the card keeps its figures"
    assert found.fingerprint == melanoma_bundle.fingerprint
    hub.requests.clear()
    assert find_bundle(str(pushed)).path == found.path
    assert hub.requests == [], "a downloaded model needs no network"
    assert str(found.path) not in {str(bundle.path) for bundle in list_bundles()}


def test_files_of_an_earlier_model_are_removed(hub: Hub, tiny_bundle: BundleInfo) -> None:
    push_bundle(find_bundle("melanoma-small"), CLINIC)
    pushed = push_bundle(tiny_bundle, CLINIC)
    _, files = hub.files_at("our-clinic/lesion", pushed.revision)
    assert sorted(files) == [".gitattributes", "README.md", "config.json", "model.safetensors"]


def test_files_of_another_program_are_not_replaced(hub: Hub, tiny_bundle: BundleInfo) -> None:
    foreign = {"config.json": b'{"model_type": "bert"}', "tokenizer.json": b"{}", "vocab.txt": b""}
    first = hub.commit("our-clinic/lesion", foreign)
    with pytest.raises(BundleError, match=r"contains config.json, tokenizer.json, but no model .*--replace"):
        push_bundle(tiny_bundle, CLINIC)
    assert hub.files_at("our-clinic/lesion", "main") == (first, foreign)
    pushed = push_bundle(tiny_bundle, CLINIC, replace=True)
    assert sorted(hub.files_at("our-clinic/lesion", pushed.revision)[1]) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert hub.parents == [first], "a commit of another user meanwhile makes the hub refuse"


def test_only_files_of_a_model_are_downloaded(hub: Hub, tiny_bundle: BundleInfo) -> None:
    surplus = {"pytorch_model.bin": b"\x80\x04", "run.py": b"import os", "graphs/x.py": b"", "a/model.safetensors": b""}
    name = HubName("x/y", hub.commit("x/y", files_of(tiny_bundle.path) | surplus))
    download_named([str(name)])
    found = find_hub_bundle(str(name))
    assert sorted(files_of(found.path)) == ["README.md", "config.json", "model.safetensors"]
    assert not {*surplus} & {*hub.downloads}


FAULTY = {
    "pickled weights": ({"config.json": b"{}", "pytorch_model.bin": b""}, r"model.safetensors missing.*could run code"),
    "no model": ({"README.md": b""}, r"config.json and model.safetensors missing"),
    "damaged weights": ({"config.json": None, "model.safetensors": b"damaged"}, "model.safetensors"),
}


@pytest.mark.parametrize("case", FAULTY.values(), ids=FAULTY)
def test_faulty_repositories(case: tuple[dict[str, bytes | None], str], hub: Hub, tiny_bundle: BundleInfo) -> None:
    files = {
        name: data if data is not None else (tiny_bundle.path / name).read_bytes() for name, data in case[0].items()
    }
    name = HubName("x/y", hub.commit("x/y", files))
    with pytest.raises(BundleError, match=case[1]):
        download_named(str(name))
    assert not name.folder.exists()


def test_names(hub: Hub) -> None:
    with pytest.raises(BundleError, match=r"names no commit.*models pull hf:our-clinic/lesion"):
        find_bundle("hf:our-clinic/lesion")
    with pytest.raises(BundleError, match="names no commit"):
        find_bundle("hf:our-clinic/lesion@main")
    for text in ("hf:lesion", "hf:../lesion", "hf:a/b/c", "hf:a/..", "hf:a/b@../c"):
        with pytest.raises(BundleError, match=r"expected a model of the Hugging Face hub|names no commit"):
            find_bundle(text)
    with pytest.raises(BundleError, match=r"cannot find hf:no/one: .*hf auth login"):
        pin(HubName("no/one"))


def test_upload_without_permission(hub: Hub, tiny_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of_another")
    with pytest.raises(BundleError, match=r"cannot upload 'tiny' to hf:our-clinic/lesion: .*HF_TOKEN"):
        push_bundle(tiny_bundle, CLINIC)


def test_commands(hub: Hub, tmp_path: Path) -> None:
    """Upload a model, analyze a photograph with it by its name on the hub, and install it."""
    runner = CliRunner()
    pushed = runner.invoke(app, ["models", "push", "lesion-small", "hf:our-clinic/lesion", "--public", "--json"])
    assert pushed.exit_code == 0, pushed.output
    pinned = json.loads(pushed.stdout.splitlines()[-1])["pinned"]
    assert hub.private == {"our-clinic/lesion": False}
    rng = np.random.default_rng(0)
    photograph = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).save(photograph)
    out = tmp_path / "out"
    analyzed = runner.invoke(app, ["lesion", str(photograph), "--out", str(out), "--model", pinned])
    assert analyzed.exit_code == 0, analyzed.output
    assert (out / "photo" / "mask.png").is_file()
    pulled = runner.invoke(app, ["models", "pull", "hf:our-clinic/lesion", "--name", "from-hub", "--json"])
    assert pulled.exit_code == 0, pulled.output
    result = json.loads(pulled.stdout.splitlines()[-1])
    assert (result["name"], result["pinned"]) == ("from-hub", pinned)
    assert find_bundle("from-hub").card == find_bundle("lesion-small").card


def test_python_functions(hub: Hub, tmp_path: Path) -> None:
    """Upload the model of a folder, and download it by its pinned name and by the name of its branch."""
    source = SHIPPED_FOLDER / "lesion-small"
    pinned = nm.push(source, "hf:our-clinic/lesion", public=True)
    assert HubName.parse(pinned).is_pinned
    assert hub.private == {"our-clinic/lesion": False}
    model = nm.pull(pinned, "from-hub")
    assert (model.name, model.card) == ("from-hub", find_bundle("lesion-small").card)
    assert "from-hub" in [installed.name for installed in nm.list_models()]
    assert nm.pull("hf:our-clinic/lesion@main", "from-hub").path == model.path, "not copied again"
    with pytest.raises(nm.BundleError, match=r"expected a model of the Hugging Face hub as hf:owner/name@commit"):
        nm.pull("our-clinic/lesion")
    with pytest.raises(nm.InputError, match="public must be True or False"):
        nm.push(source, "hf:our-clinic/lesion", public="yes")  # type: ignore[arg-type]


def test_layout_without_upload(hub: Hub, tmp_path: Path) -> None:
    """The exported folder has exactly the files that an upload of the same model has."""
    source = tmp_path / "bundle"
    shutil.copytree(SHIPPED_FOLDER / "lesion-small", source)
    (source / "notes.txt").write_text("private")
    (source / "checkpoints").mkdir()
    (source / "checkpoints" / "last.ckpt").write_bytes(b"\x80\x04")
    arguments = ["models", "export", str(source), "--format", "hub", "--out", str(tmp_path / "layout"), "--json"]
    exported = CliRunner().invoke(app, arguments)
    assert exported.exit_code == 0, exported.output
    assert hub.requests == []
    pushed = push_bundle(read_bundle(source), CLINIC)
    uploaded = {**hub.files_at(CLINIC.repository, pushed.revision)[1]}
    del uploaded[".gitattributes"]
    assert files_of(tmp_path / "layout") == uploaded
    assert json.loads(exported.stdout.splitlines()[-1])["files"] == sorted(uploaded)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists already: expected a new folder" in again.output
    assert nm.export(source, "hub", tmp_path / "second") == tmp_path / "second"
    assert files_of(tmp_path / "second") == uploaded
