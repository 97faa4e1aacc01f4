"""The worker: requests, events, and protection of its output stream."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import BundleError
from napari_melanoma.lesion import loaded_models
from napari_melanoma.models.graphs import Graphs
from napari_melanoma.worker import HANDLERS, MAX_CHARACTERS, REQUESTS, decode_lines, read_lines, serve


def conversation(handlers, *requests):
    events = io.StringIO()
    serve(handlers, [json.dumps(request) for request in requests], events)
    return [json.loads(line) for line in events.getvalue().splitlines()]


def double(arguments, run):
    run.report(Progress(1, 2, "Doubling"))
    return {"value": 2 * arguments["value"]}


def refuse(arguments, run):
    raise BundleError("there is no such model")


def import_missing(arguments, run):
    raise ModuleNotFoundError("No module named 'lightning'", name="lightning")


def explode(arguments, run):
    raise RuntimeError("CUDA error: out of memory")


def test_the_worker_of_the_window_tests_has_verbs_of_the_worker():
    fake = runpy.run_path(str(Path(__file__).with_name("ui") / "fake_worker.py"))
    assert set(fake["HANDLERS"]) <= set(REQUESTS.members)


def test_a_result_has_the_id_of_its_request_and_follows_its_progress():
    events = conversation({"double": double}, {"id": 7, "verb": "double", "arguments": {"value": 21}})
    assert events == [
        {"id": 7, "kind": "progressed", "done": 1, "total": 2, "message": "Doubling"},
        {"id": 7, "kind": "succeeded", "result": {"value": 42}},
    ]


@pytest.mark.parametrize(
    ("verb", "kind", "words"),
    [
        ("refuse", "BundleError", "there is no such model"),
        ("explode", "RuntimeError", "The memory is full"),
        ("import_missing", "ModuleNotFoundError", "this step needs lightning, which is not installed. Install it: pip"),
        ("sing", "MelanomaError", "the worker has no verb 'sing' (known: refuse, explode, import_missing)"),
    ],
)
def test_an_error_is_reported_and_the_worker_continues(verb, kind, words, monkeypatch):
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None if name == "lightning" else name)
    handlers = {"refuse": refuse, "explode": explode, "import_missing": import_missing}
    first, second = conversation(handlers, *({"id": n, "verb": verb, "arguments": {}} for n in (1, 2)))
    assert (first["kind"], first["type"]) == ("failed", kind)
    assert words in first["message"]
    assert second["id"] == 2


MALFORMED = [
    b"no JSON",
    b"",
    b"[]",
    b"7",
    b"null",
    b"{}",
    b'{"id": 1}',
    b'{"id": {"a": []}, "verb": "double", "arguments": {"value": 1, "value": 2}}',
    b'{"id": 1, "verb": ["double"], "arguments": {}}',
    b'{"id": 1, "verb": {"double": 1}, "arguments": {}}',
    b'{"id": 1, "verb": "double"}',
    b'{"id": 1, "verb": "double", "arguments": [1]}',
    b'{"id": 1, "verb": "double", "arguments": {"value": null}}',
    b'{"id": 1, "verb": "double", "arguments": ' + b"[" * 100_000 + b"}",
    b'{"id": 1, "verb": "double", "arguments": {"value": ' + b"9" * 5000 + b"}}",
    b'{"id": 1, "verb": "\xff\xfe", "arguments": {}}',
    b'{"id": 1, "verb": "\\ud800", "arguments": {}}',
    b'{"id": 1, "verb": "' + b"v" * (MAX_CHARACTERS + 5) + b'", "arguments": {}}',
    b"\x00" * 100,
]


@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_request_is_reported_and_the_worker_continues(line):
    requests = io.BytesIO(line + b"\n" + b'{"id": 2, "verb": "double", "arguments": {"value": 21}}')
    events = io.StringIO()
    serve({"double": double}, decode_lines(requests), events)
    answers = [json.loads(event) for event in events.getvalue().splitlines()]
    assert answers[0]["kind"] in ("failed", "progressed")
    assert [event["kind"] for event in answers if event["kind"] != "progressed"] == ["failed", "succeeded"]
    assert answers[-1] == {"id": 2, "kind": "succeeded", "result": {"value": 42}}
    assert len(events.getvalue()) < 2000


def test_lines_end_with_their_source_or_after_a_timeout():
    assert list(read_lines(["a\n", "b\n"], 5.0)) == ["a\n", "b\n"]

    def silent():
        yield "a\n"
        import time

        time.sleep(1.0)

    assert list(read_lines(silent(), 0.05)) == ["a\n"]


def run_worker(code, text):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)


def test_output_of_libraries_does_not_disturb_the_events():
    code = (
        "import os, sys\n"
        "from napari_melanoma.worker import main\n"
        "def loud(arguments, run):\n"
        "    print('from Python'); sys.stdout.flush(); os.system('echo from a child'); return {}\n"
        "raise SystemExit(main({'loud': loud}))\n"
    )
    done = run_worker(code, '{"id": 1, "verb": "loud", "arguments": {}}\n')
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"id": 1, "kind": "succeeded", "result": {}}
    assert "from Python" in done.stderr
    assert "from a child" in done.stderr


def test_the_worker_ends_with_its_input():
    assert run_worker("from napari_melanoma.worker import main; raise SystemExit(main())", "").returncode == 0


def test_it_starts_without_torch():
    code = "import sys; import napari_melanoma.worker; raise SystemExit('torch' in sys.modules)"
    assert run_worker(code, "").returncode == 0


def test_segment_writes_the_probability_of_the_model(tmp_path, monkeypatch):
    import napari_melanoma.worker as worker

    class Info:
        name, fingerprint = "half", "f" * 64

        class config:  # noqa: N801 - replaces a BundleConfig
            threshold, modalities, is_demonstration, provenance = 0.4, ("dermoscopic",), False, {}
            closer_views = ()
            turned_views = None

    class Half:
        info, device, backend = Info, "cpu", "torch"

        def probability(self, rgb):
            return np.full(rgb.shape[:2], 0.5, np.float32)

    monkeypatch.setattr(worker, "load_segmenter", lambda model: Half())
    image, out = tmp_path / "image.npy", tmp_path / "probability.npy"
    np.save(image, np.zeros((4, 6, 3), np.uint8))
    arguments = {"model": "half", "image": str(image), "out": str(out)}
    *_, last = conversation(HANDLERS, {"id": 1, "verb": "segment", "arguments": arguments})
    stamp = {"name": "half", "fingerprint": "f" * 64, "device": "cpu", "threshold": 0.4, "modalities": ["dermoscopic"]}
    stamp |= {"demonstration": False, "trained_on_photograph": False, "backend": "torch", "closer_views": None}
    stamp["turned_views"] = None
    assert last["result"] == {"model": stamp}
    assert np.array_equal(np.load(out), np.full((4, 6), 0.5, np.float32))


def test_a_model_is_loaded_again_only_after_it_was_replaced(tmp_path, monkeypatch):
    from safetensors.numpy import save

    import napari_melanoma.worker as worker
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
    ("verb", "model", "functions"),
    [("prepare_segmenter", "lesion-small", {"segment"}), ("prepare_classifier", "auto", {"encode", "classify"})],
)
def test_a_prepared_model_has_opened_its_graphs(monkeypatch, verb, model, functions):
    opened = []
    open_session = Graphs.open_session
    monkeypatch.setattr(Graphs, "open_session", lambda *args: opened.append(args[1]) or open_session(*args))
    monkeypatch.setenv("NAPARI_MELANOMA_BACKEND", "onnxruntime")
    for cache in (loaded_models._segmenter, loaded_models._classifier):
        cache.cache_clear()
    for _ in range(2):
        (last,) = conversation(HANDLERS, {"id": 1, "verb": verb, "arguments": {"model": model}})
        assert last["result"] == {"device": "cpu"}
    assert sorted(opened) == sorted(functions)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "a request needs 'model' among its arguments, found none"),
        ({"model": None, "image": "a.npy"}, "a request needs 'model' among its arguments, found image"),
        ({"model": []}, "'model' of a request is a list, expected text"),
        ({"model": "x", "row": "y"}, "'row' of a request is a str, expected an object"),
    ],
)
def test_missing_or_wrong_arguments_are_named(arguments, words):
    *_, event = conversation(HANDLERS, {"id": 1, "verb": "classify", "arguments": arguments})
    assert (event["kind"], event["type"]) == ("failed", "InputError")
    assert words in event["message"]


def test_requests_of_extensions_are_found_and_others_are_rejected():
    assert REQUESTS.members["predict_slide_risk"].__module__ == "napari_melanoma.extensions.risk.worker_requests"
    with pytest.raises(TypeError, match="expected a function of arguments"):
        REQUESTS._convert("verb", "no function")
