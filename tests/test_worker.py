"""The worker process: its requests and events, and the protection of its output stream."""

from __future__ import annotations

import pickle
import subprocess
import sys
import weakref

import numpy as np
import psutil
import pytest
from patience import PATIENCE_S

from napari_melanoma import worker
from napari_melanoma.core import errors
from napari_melanoma.core.context import KeptArray, Progress, RunContext
from napari_melanoma.core.errors import DamagedImage, MelanomaError
from napari_melanoma.lesion import loaded_models
from napari_melanoma.models.graphs import Graphs


def double(array, run):
    run.report(Progress(1, 2, "Doubling"))
    return 2 * array.values


def refuse(run):
    raise DamagedImage("half.jpg is damaged", "the lower half is missing")


class OddError(MelanomaError):
    def __init__(self, message, depth):
        super().__init__(message)
        self.depth = depth


def refuse_oddly(run):
    raise OddError("no depth", 3)


def import_missing(run):
    raise ModuleNotFoundError("No module named 'lightning'", name="lightning")


def explode(run):
    raise RuntimeError("CUDA error: out of memory")


def answer(name, *arguments):
    """Return the events of a request to a function of this module."""
    events = []
    worker._answer((__name__, name, arguments), lambda kind, value: events.append((kind, value)))
    return events


def test_a_result_follows_its_progress_and_the_last_array_is_kept():
    progress, (kind, value) = answer("double", KeptArray("a", np.array([1, 2])))
    assert progress == ("progressed", Progress(1, 2, "Doubling"))
    assert (kind, value.tolist()) == ("succeeded", [2, 4])
    assert answer("double", KeptArray("a", None))[1][1].tolist() == [2, 4]
    answer("double", KeptArray("b", np.array([3])))
    assert worker._kept.keys() == {KeptArray("b", None)}


def test_an_error_of_the_product_is_passed_as_it_is():
    ((kind, error),) = answer("refuse")
    copy = pickle.loads(pickle.dumps(error))
    assert (kind, type(copy), str(copy)) == ("failed", DamagedImage, "half.jpg is damaged")
    assert copy.damage == "the lower half is missing"


def test_an_error_that_cannot_be_pickled_is_passed_as_its_text():
    ((kind, error),) = answer("refuse_oddly")
    copy = pickle.loads(pickle.dumps(error))
    assert (kind, type(copy), str(copy)) == ("failed", MelanomaError, "no depth")


def test_every_error_of_the_product_can_be_pickled():
    own = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MelanomaError)]
    assert len(own) > 5
    for kind in own:
        made = pickle.loads(pickle.dumps(kind("half.jpg is damaged")))
        assert (type(made), str(made)) == (kind, "half.jpg is damaged")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("explode", "The memory is full"),
        ("import_missing", "this step needs lightning, which is not installed. Install it: pip"),
        ("sing", "has no attribute 'sing'. This error is unexpected; run `napari-melanoma doctor`"),
    ],
)
def test_other_errors_are_described(name, words, monkeypatch):
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None if name == "lightning" else name)
    ((kind, error),) = answer(name)
    assert kind == "failed"
    assert words in str(error)


def test_a_request_has_one_answer_if_the_conversion_of_a_model_fails(monkeypatch, caplog):
    def refuse_access():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("napari_melanoma.models.graphs.convert_requested", refuse_access)
    kinds = [kind for kind, _ in answer("double", KeptArray("a", np.array([1])))]
    assert kinds == ["progressed", "succeeded"]
    assert "Permission denied" in caplog.text


def test_an_array_is_kept_if_the_function_cannot_be_imported():
    events = []
    request = "missing_module", "double", (KeptArray("sent once", np.array([5])),)
    worker._answer(request, lambda kind, value: events.append(kind))
    assert events == ["failed"]
    assert answer("double", KeptArray("sent once", None))[1][1].tolist() == [10]


def test_what_is_remembered_of_a_photograph_does_not_keep_its_pixels():
    rgb = np.zeros((64, 64, 3), np.uint8)
    pixels = weakref.ref(rgb)
    worker._recognize(KeptArray("black", rgb))
    del rgb
    assert pixels() is None


def start_worker(code):
    """Start a worker after some code."""
    command = [sys.executable, "-W", "error", "-c", f"{code}\nfrom napari_melanoma.worker import main; main(0.01)"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_output_of_libraries_does_not_disturb_the_events_and_an_idle_worker_ends():
    code = "import os, sys; system = os.system\n"
    code += "os.system = lambda line, run: (print('from Python'), sys.stdout.flush(), system(line))[2]"
    with start_worker(code) as process:
        pickle.dump((7, ("os", "system", ("echo from a child",))), process.stdin)
        process.stdin.flush()
        assert [process.stdout.readline().strip(), process.stdout.readline()] == [b"", worker.START]
        assert pickle.load(process.stdout) == (7, "succeeded", 0)
        assert process.wait(PATIENCE_S) == 0
        errors = process.stderr.read()
    assert b"from Python" in errors
    assert b"from a child" in errors


VIEWER = """
import pickle, subprocess, sys
code = "import time; time.wait = lambda run: (run.report(1), time.sleep(600))\\n"
code += "from napari_melanoma.worker import main; main()"
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
pickle.dump((1, ("time", "wait", ())), child.stdin)
child.stdin.flush()
print(child.stdout.readline() + child.stdout.readline())
print(pickle.load(child.stdout), child.pid, flush=True)
child.wait()
"""


@pytest.mark.slow
def test_the_worker_ends_in_a_request_when_the_viewer_is_killed():
    with subprocess.Popen([sys.executable, "-c", VIEWER], stdout=subprocess.PIPE, text=True) as viewer:
        assert "worker" in viewer.stdout.readline()
        *event, pid = viewer.stdout.readline().split()
        child = psutil.Process(int(pid))
        assert event == ["(1,", "'progressed',", "1)"]
        viewer.kill()
    child.wait(PATIENCE_S)


def test_it_starts_without_torch():
    code = "import sys; import napari_melanoma.worker; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_is_loaded_again_only_after_it_was_replaced(tmp_path, monkeypatch):
    from safetensors.numpy import save

    from napari_melanoma.core.files import atomic_folder, write_json
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import CONFIG, WEIGHTS, BundleConfig

    def put(weights):
        config = BundleConfig(name="mine", title="mine", architecture="unet")
        with atomic_folder(tmp_path / "mine") as folder:
            write_json(folder / CONFIG, config.model_dump(mode="json"))
            (folder / WEIGHTS).write_bytes(weights)

    loaded = []
    monkeypatch.setattr(Segmenter, "load", lambda info: loaded.append(info.fingerprint) or len(loaded))
    one, two = (save({"weight": np.full(1, value, np.float32)}) for value in (1, 2))
    for weights in (one, one, two):
        if not loaded or weights == two:
            put(weights)
        worker.load_segmenter(str(tmp_path / "mine"))
    assert len(loaded) == len(set(loaded)) == 2


@pytest.mark.parametrize(
    ("prepare", "model", "functions"),
    [
        (worker.prepare_segmenter, "lesion-small", {"segment"}),
        (worker.prepare_classifier, "auto", {"encode", "classify"}),
    ],
)
def test_a_prepared_model_has_opened_its_graphs(monkeypatch, prepare, model, functions):
    opened = []
    open_session = Graphs.open_session
    monkeypatch.setattr(Graphs, "open_session", lambda *args: opened.append(args[1]) or open_session(*args))
    monkeypatch.setenv("NAPARI_MELANOMA_BACKEND", "onnxruntime")
    for cache in (loaded_models._segmenter, loaded_models._classifier):
        cache.cache_clear()
    for _ in range(2):
        prepare(model, RunContext())
    assert sorted(opened) == sorted(functions)
