"""``case``: text and JSON output, created files and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from napari_melanoma.case.model import VERSION


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two images of one lesion, one of another, one without a lesion."""
    (tmp_path / "pictures").mkdir()
    for gray, name in enumerate(("back_left_2_dermoscopy", "back_left_2_macro", "nose_macro", "IMG_1")):
        Image.new("RGB", (30, 20), (gray, 0, 0)).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path / "pictures"


def test_a_case_is_created_and_printed(run, pictures: Path) -> None:
    made = run("case", "K", "--from", "pictures")
    assert made.exit_code == 0, made.output
    assert "4 images added, 2 lesions in all: case in K" in made.stdout
    shown = run(*made.stdout.split("next: napari-melanoma ")[1].split())
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("Patient P-")
    assert lines[1:7] == [
        "L1  posterior torso left",
        "    I2  back_left_2_dermoscopy.png, dermoscopic",
        "    I3  back_left_2_macro.png, macroscopic",
        "L2  nose head/neck",
        "    I4  nose_macro.png, macroscopic",
        "Not assigned to a lesion",
    ]
    assert "No faults in K." in shown.stdout


def test_slide_measurements_are_printed(run, tmp_path: Path) -> None:
    from napari_melanoma.case.model import Case, add_lesion
    from napari_melanoma.case.store import CaseStore

    case = add_lesion(Case(), site="upper extremity", depth_mm=1.34, clark=4, mitoses_per_mm2=3.0)
    CaseStore.create(tmp_path / "K", case).close()
    lines = run("case", "K").stdout.splitlines()
    assert "L1  upper extremity, depth in mm 1.34, Clark level 4, mitoses per mm² 3" in lines


def test_repeating_the_command_adds_new_files(run, pictures: Path) -> None:
    run("case", "K", "--from", "pictures")
    Image.new("RGB", (30, 20), (9, 9, 9)).save(pictures / "nose_dermoscopy.png")
    again = run("case", "K", "--from", "pictures")
    assert "1 image added, 2 lesions in all" in again.stdout


def test_missing_files_give_exit_code_1(run, pictures: Path, lines) -> None:
    run("case", "K", "--from", "pictures")
    (pictures / "IMG_1.png").unlink()
    result = run("case", "K", "--json")
    assert result.exit_code == 1
    events = [line for line in lines(result.stdout) if line["event"] != "progress"]
    assert [line["event"] for line in events] == ["case", "fault", "note", "note", "summary"]
    assert [lesion["id"] for lesion in events[0]["lesions"]] == ["L1", "L2"]
    assert events[1]["about"] == "I1"
    assert (events[-1]["status"], events[-1]["faults"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("case", "none"), "contains no case.json"),
        (("case", "K", "--from", "nowhere"), "nowhere does not exist"),
        (("case", "K", "--from", "pictures", "--patient", "7"), "there is no patient '7'"),
        (("case", "K", "--from", "pictures", "--map", "none.toml"), "none.toml"),
        (("case", "K", "--patient", "7"), "--patient and --map need --from"),
    ],
)
def test_a_usage_error_is_explained_and_gives_exit_code_2(run, pictures: Path, words, expected: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not Path("K").exists()


def test_a_newer_case_format_is_rejected(run, pictures: Path) -> None:
    run("case", "K", "--from", "pictures")
    path = Path("K/case.json")
    path.write_text(path.read_text(encoding="utf-8").replace(f'"{VERSION}"', '"3.1"'), encoding="utf-8")
    result = run("case", "K")
    assert (result.exit_code, "Update napari-melanoma" in result.stderr) == (2, True)


def test_lesions_are_classified(run, pictures: Path, lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are printed and saved; an image that could not be classified gives exit code 1."""
    from napari_melanoma.case import results
    from napari_melanoma.case.results import CasePredictions

    calls = []

    def predict(store, classifier: str, context, *, keep: bool) -> CasePredictions:
        calls.append((store.folder.name, classifier, store.read_only, keep))
        return CasePredictions((), (("I1", "is of no lesion yet."),), "now")

    monkeypatch.setattr(results, "predict_case_with", predict)
    run("case", "K", "--from", "pictures")
    result = run("case", "K", "--classify", "--classifier", "red", "--json")
    assert result.exit_code == 1
    assert calls == [("K", "red", "", True)]
    assert (pictures.parent / "K" / "predictions.json").is_file()
    assert "0 lesions classified: " in lines(result.stdout)[-1]["message"]


def test_a_cancelled_prediction_states_which_results_remain(
    run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.case import results
    from napari_melanoma.core.context import Cancelled

    def predict(*given: object, keep: bool) -> None:
        raise Cancelled

    monkeypatch.setattr(results, "predict_case_with", predict)
    run("case", "K", "--from", "pictures")
    stopped = run("case", "K", "--classify")
    assert stopped.exit_code != 0
    assert "Masks and results of finished photographs are kept in K; no prediction was saved." in stopped.output


WRONG = [
    (("--classify", "--from", "pictures"), "cannot be combined"),
    (("--classifier", "red"), "needs --classify"),
    (("--classify", "--classifier", "lesion-small"), "is a segmentation model"),
    (("--classify", "--classifier", "missing"), "no model named 'missing'"),
]


@pytest.mark.parametrize(("options", "expected"), WRONG)
def test_impossible_classifications_are_explained(run, pictures: Path, options: tuple[str, ...], expected: str) -> None:
    run("case", "K", "--from", "pictures")
    result = run("case", "K", *options)
    assert result.exit_code == 2
    assert expected in result.output
    assert not (pictures.parent / "K" / "predictions.json").exists()
