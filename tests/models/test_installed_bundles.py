"""Installing a bundle: it gets an unused name, replaces nothing, and is installed only once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from napari_melanoma.core.errors import BundleError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models import installed_bundles
from napari_melanoma.models.bundle import CONFIG, WEIGHTS, BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import (
    FORMER_BUNDLES,
    check_usable,
    find_bundle,
    install_bundle,
    list_bundles,
    list_unusable_bundles,
    user_models_folder,
)

pytestmark = pytest.mark.usefixtures("user_folders")


def another(bundle: BundleInfo, folder: Path, **provenance: object) -> BundleInfo:
    """A bundle of the same name with other weights."""
    shutil.copytree(bundle.path, folder)
    save_file(load_file(bundle.path / WEIGHTS), folder / WEIGHTS, {"made": "again"})
    values = bundle.config.model_copy(update={"provenance": provenance}).model_dump(mode="json")
    write_json(folder / CONFIG, values)
    return read_bundle(folder)


def test_an_installed_bundle_is_listed_and_found(tiny_bundle: BundleInfo) -> None:
    adopted = install_bundle(tiny_bundle)
    assert adopted.path == user_models_folder() / "tiny"
    assert find_bundle("tiny") == adopted
    assert adopted.fingerprint == tiny_bundle.fingerprint
    assert adopted.card == tiny_bundle.card
    assert tiny_bundle.path.is_dir()


def test_an_existing_name_gets_a_number(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    names = [install_bundle(tiny_bundle).name, install_bundle(another(tiny_bundle, tmp_path / "new")).name]
    assert names == ["tiny", "tiny-2"]
    assert [info.name for info in list_bundles() if info.path.parent == user_models_folder()] == ["tiny", "tiny-2"]
    assert find_bundle("tiny").fingerprint == tiny_bundle.fingerprint


def test_a_run_folder_is_its_model(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text("")
    with pytest.raises(BundleError, match=r"the run .*run has no model yet"):
        find_bundle(str(run.path))
    shutil.copytree(tiny_bundle.path, run.bundle)
    assert find_bundle(str(run.path)) == find_bundle(str(run.bundle))


def test_a_bundle_is_installed_only_once(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    other = another(tiny_bundle, tmp_path / "new")
    install_bundle(tiny_bundle)
    assert install_bundle(other) == install_bundle(other) == install_bundle(install_bundle(other))
    assert len(list(user_models_folder().iterdir())) == 2


def test_the_shipped_model_keeps_its_name(tiny_bundle: BundleInfo) -> None:
    assert install_bundle(tiny_bundle, "lesion-small").name == "lesion-small-2"


@pytest.mark.parametrize(
    ("wished", "given"), [("our clinic/2026", "our-clinic-2026"), ("../..", "model"), (" ü ", "ü")]
)
def test_a_name_is_a_single_folder(wished: str, given: str, tiny_bundle: BundleInfo) -> None:
    adopted = install_bundle(tiny_bundle, wished)
    assert (adopted.name, adopted.path.parent) == (given, user_models_folder())
    assert read_bundle(adopted.path).config.name == given


def test_the_provenance_is_kept(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    parent = {"name": "lesion-small", "fingerprint": "ab"}
    assert install_bundle(another(tiny_bundle, tmp_path / "new", parent=parent)).config.provenance["parent"] == parent


def test_a_folder_that_cannot_be_written(tiny_bundle: BundleInfo) -> None:
    user_models_folder().parent.mkdir(parents=True)
    user_models_folder().touch()
    with pytest.raises(SaveError, match="cannot write"):
        install_bundle(tiny_bundle)


def _put(bundle: BundleInfo, name: str, **changes: object) -> Path:
    """A bundle that was copied into the user's model folder."""
    folder = user_models_folder() / name
    shutil.copytree(bundle.path, folder)
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**values, "name": name, **changes})
    return folder


MADE = {"program": "napari-melanoma", "version": "9.1", "packages": {"timm": "2.7"}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"architecture": "network_of_tomorrow"}, "its architecture 'network_of_tomorrow' is not installed"),
        (
            {"options": {"encoder": "tf_efficientnet_of_tomorrow"}},
            "its encoder 'tf_efficientnet_of_tomorrow' is available",
        ),
        ({"options": {"encoder": "resnet18", "of_tomorrow": 1}}, "does not support these options"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_and_listed_separately(
    tiny_bundle: BundleInfo, changes: dict[str, object], fault: str
) -> None:
    folder = _put(tiny_bundle, "tomorrow", provenance=MADE, **changes)
    assert "tomorrow" not in {bundle.name for bundle in list_bundles()}
    ((path, reason),) = list_unusable_bundles().items()
    assert path == folder
    assert fault in reason
    assert "It was created with napari-melanoma 9.1, timm 2.7: install these versions or later ones." in reason
    with pytest.raises(BundleError, match="cannot be used"):
        install_bundle(read_bundle(folder), "other")
    with pytest.raises(BundleError, match="cannot be used"):
        find_bundle("tomorrow")
    assert not (user_models_folder() / "other").exists()


def test_a_missing_package_is_named_unless_there_are_graphs(
    tiny_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None)
    installed_bundles.explain_not_buildable.cache_clear()
    with pytest.raises(BundleError, match="pip install timm segmentation-models-pytorch"):
        install_bundle(tiny_bundle)
    shipped = find_bundle("melanoma-small")
    assert install_bundle(shipped, "copy").config.architecture == shipped.config.architecture
    installed_bundles.explain_not_buildable.cache_clear()


def test_all_shipped_models_can_be_built_and_have_the_names_of_their_folders() -> None:
    assert all(check_usable(bundle).path.name == bundle.name for bundle in list_bundles())


def test_of_the_shipped_models_only_the_one_that_is_looked_for_is_read(monkeypatch) -> None:
    read = []
    monkeypatch.setattr(installed_bundles, "read_bundle", lambda path: read.append(path.name) or read_bundle(path))
    assert find_bundle("lesion-small").name == "lesion-small"
    assert read == ["lesion-small"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without_content(path: Path) -> None:
    path.write_bytes(b"")


def of_another_format(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" * 100)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(8))


@pytest.mark.parametrize("damage", [cut, without_content, of_another_format, longer])
def test_a_bundle_with_damaged_weights_is_listed_as_not_usable(
    tiny_bundle: BundleInfo, damage: Callable[[Path], None]
) -> None:
    adopted = install_bundle(tiny_bundle)
    damage(adopted.path / WEIGHTS)
    assert adopted.name not in [info.name for info in list_bundles()]
    assert "incomplete or damaged" in list_unusable_bundles()[adopted.path]
    for name in (adopted.name, str(adopted.path)):
        with pytest.raises(BundleError, match=r"incomplete or damaged .* Download or copy the bundle again"):
            find_bundle(name)


@pytest.mark.parametrize("name", FORMER_BUNDLES)
def test_a_model_that_is_no_longer_included_has_an_explanation(name: str, tiny_bundle: BundleInfo) -> None:
    with pytest.raises(
        BundleError, match=r"No model that detects tumors on slides is included.*imagenet-tiles"
    ) as error:
        find_bundle(name, of_slides=True)
    assert str(error.value).startswith(f"there is no model named '{name}' (available: imagenet-tiles, risk-demo")
    install_bundle(tiny_bundle, name)  # a user's own one of this name
    assert find_bundle(name).fingerprint == tiny_bundle.fingerprint


def test_a_name_of_the_hub_in_a_file_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.models.hub import HubName, download_named

    named: list[HubName] = []
    monkeypatch.setattr("napari_melanoma.models.hub._download", named.append)
    name = f"hf:clinic/lesion@{'a' * 40}"
    with pytest.raises(BundleError, match=f"has not been downloaded.*models pull {name}"):
        find_bundle(name)
    assert named == []
    download_named({"model": {"start": f"encoder:{name}"}, "title": "hf:clinic/lesion", "classes": ("nevus", 1)})
    assert [str(one) for one in named] == [name]


def test_arguments_of_the_python_api_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.api.inputs import to_bundle
    from napari_melanoma.api.slides import _to_slide_options

    named: list[str] = []
    monkeypatch.setattr("napari_melanoma.models.hub._download", lambda name: named.append(str(name)))
    name = f"hf:clinic/lesion@{'a' * 40}"
    with pytest.raises(BundleError, match="has not been downloaded"):  # as the download is not real
        to_bundle(name)
    _to_slide_options({"model": f"encoder:{name}"}, None, None)
    assert named == [name, name]


def test_a_model_that_was_calibrated_again_is_another_one(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    """It has the same weights; the installed one must not be taken for it."""
    first = install_bundle(tiny_bundle)
    shutil.copytree(tiny_bundle.path, tmp_path / "again")
    config = tiny_bundle.config.model_copy(update={"threshold": 0.31})
    write_json(tmp_path / "again" / "config.json", config.model_dump(mode="json"))
    second = install_bundle(read_bundle(tmp_path / "again"))
    assert second.fingerprint == first.fingerprint
    assert (second.name, second.config.threshold) == ("tiny-2", 0.31)
    assert install_bundle(read_bundle(tmp_path / "again")) == second
