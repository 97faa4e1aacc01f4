"""JSON and TOML from files: every fault is a single error that names the file, within a second."""

from __future__ import annotations

import json
import pickle
import re
import time
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core import parsing
from napari_melanoma.core.config import Config, read_toml
from napari_melanoma.core.errors import ConfigError, InputError, MalformedFile
from napari_melanoma.core.parsing import (
    MAX_DEPTH,
    parse_json,
    parse_toml,
    read_json,
    read_object,
    read_object_or_empty,
    read_toml_table,
    shape_parser,
)

SOURCES = Path(__file__).parents[2] / "src" / "napari_melanoma"

BAD_JSON = [
    ("deep lists", b"[" * 100_000, "nested more than 100 levels"),
    ("deep lists that are closed", b"[" * 100_000 + b"]" * 100_000, "nested more than 100 levels"),
    ("deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested more than 100 levels"),
    ("a level too deep", b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than 100 levels"),
    ("a number of 5,000 digits", b'{"a": ' + b"9" * 5000 + b"}", "more than 64 bits"),
    ("a number of 400 digits", b"[" + b"9" * 400 + b"]", "more than 64 bits"),
    ("2 to the power of 64", b"[18446744073709551616]", "more than 64 bits"),
    ("a long number after long decimals", b"[0.%s, -%s]" % (b"1" * 30, b"9" * 30), "more than 64 bits"),
    ("a float beyond the largest", b"[1e999]", "too large"),
    ("a float with many digits", b"[0.%se+999]" % (b"1" * 30), "too large"),
    ("a float beyond the largest at the end", b"-1e999", "too large"),
    ("a float beyond the largest in an object", b'{"a": 1.5E+999 }', "too large"),
    ("the same with leading zeros", b"[1e0999]", "too large"),
    ("the same after an identifier that looks like one", b'{"id": "4e1234c", "a": 12e999}', "too large"),
    ("not a number", b'{"a": NaN}', "NaN is not a number"),
    ("infinity", b"[-Infinity]", "-Infinity is not a number"),
    ("a duplicate key", b'{"a": {"b": 1, "b": 2}}', "'b' occurs more than once"),
    ("a lone surrogate", b'["\\ud800"]', "surrogate"),
    ("a lone surrogate as a key", b'{"\\uDC00": 1}', "surrogate"),
    ("a low one alone", b'["\\uDD00"]', "surrogate"),
    ("bytes that are no UTF-8", b'["\xff"]', "not text in UTF-8"),
    ("UTF-16", '{"a": 1}'.encode("utf-16"), "not text in UTF-8"),
    ("nothing", b"", "it is empty"),
    ("a cut end", b'{"a": [1, 2', "not valid JSON"),
    ("a control character", b'["\x00"]', "not valid JSON"),
    ("two values", b"1 2", "not valid JSON"),
    ("a long key twice", b'{"' + b"k" * 9000 + b'": 1, "' + b"k" * 9000 + b'": 2}', "occurs more than once"),
]

GOOD_JSON = [
    ("a byte order mark", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ("the deepest", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ("a pair of surrogates", b'["\\ud83d\\ude00"]', ["\U0001f600"]),
    ("the name of a file that is no UTF-8", b'["n\\udce9vus"]', ["n\udce9vus"]),
    ("64 bits", b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
    ("many decimals", b"[0.1234567890123456789, 1e300, 1E-999]", [0.1234567890123456789, 1e300, 0.0]),
    ("long digits in a text", b'["' + b"9" * 5000 + b'"]', ["9" * 5000]),
    ("brackets in a text", b'["' + b"[" * 5000 + b'"]', ["[" * 5000]),
]

BAD_TOML = [
    ("deep lists", b"a = " + b"[" * 100_000, "nested more than 100 levels"),
    ("deep tables", b"a = " + b"{a = " * 40_000, "nested more than 100 levels"),
    ("a dotted key", b".".join([b"a"] * 20_000) + b" = 1", "nested more than 100 levels"),
    ("a dotted key in braces", b"x = {" + b" . ".join([b"a"] * 20_000) + b" = 1}", "nested more than 100 levels"),
    ("a dotted key in quotes", b"x = {" + b".".join([b"'a.b'", b'"="'] * 10_000) + b" = 1}", "nested more than 100"),
    ("a dotted table", b"[" + b".".join([b"a"] * 20_000) + b"]", "nested more than 100 levels"),
    ("a number of 5,000 digits", b"a = " + b"9" * 5000, "more than 64 bits"),
    ("a long number in groups", b"a = 1" + b"_000" * 7, "more than 64 bits"),
    ("a long hexadecimal number", b"a = 0x" + b"f" * 5000, "more than 64 bits"),
    ("a duplicate key", b"a = 1\na = 2", "not valid TOML"),
    ("bytes that are no UTF-8", b"a = '\xff'", "not text in UTF-8"),
    ("a lone surrogate", b'a = "\\ud800"', "not valid TOML"),
    ("more than 256 KiB", b"#" * (1024 * 256 + 1), "too large"),
    ("a cut end", b"a = [1, ", "not valid TOML"),
]


def refusal(path: Path, content: bytes, read) -> str:
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(MalformedFile) as caught:
        read(path)
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert len(message) < 500 + len(str(path))
    assert str(path) in message
    return message


@pytest.mark.parametrize(("content", "words"), [case[1:] for case in BAD_JSON], ids=[case[0] for case in BAD_JSON])
def test_json_that_breaks_parsers_is_one_error(tmp_path, content, words):
    assert words in refusal(tmp_path / "some.json", content, read_json)


@pytest.mark.parametrize(("content", "value"), [case[1:] for case in GOOD_JSON], ids=[case[0] for case in GOOD_JSON])
def test_unusual_json_is_read(content, value):
    assert value is None or parse_json(content, "some.json") == value


@pytest.mark.parametrize(
    "text",
    ["[0.0012345678901234567]", '["12345678901234567890"]', '{"id": "a12345678901234567890"}', '{"id": "4e1234c-0"}'],
)
def test_decimals_and_identifiers_are_left_to_the_fast_parser(text, monkeypatch):
    def refuse(digits):
        raise AssertionError(f"{digits} was parsed by our own function, which takes 20 times as long")

    monkeypatch.setattr(parsing, "_parse_float", refuse)
    assert parse_json(text, "some.json") == json.loads(text)


@pytest.mark.parametrize(("content", "words"), [case[1:] for case in BAD_TOML], ids=[case[0] for case in BAD_TOML])
def test_toml_that_breaks_parsers_is_one_error(tmp_path, content, words):
    assert words in refusal(tmp_path / "recipe.toml", content, read_toml_table)


def test_unusual_toml_is_read():
    assert parse_toml(b"\xef\xbb\xbfa = 1.0\r\nb = 'x'\r\nc = inf", "x")["a"] == 1.0


def test_an_object_is_expected_where_keys_are_read(tmp_path):
    assert "contains a list, expected an object" in refusal(tmp_path / "some.json", b"[]", read_object)
    assert [read_object_or_empty(tmp_path / name) for name in ("some.json", "gone.json", "nul\0")] == [{}] * 3


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path):
    assert "too large" in refusal(tmp_path / "some.json", b" " * 100, lambda path: read_json(path, max_bytes=99))


def test_the_error_survives_another_process():
    error = pickle.loads(pickle.dumps(MalformedFile("cannot read a.json", "it is empty")))
    assert (str(error), error.reason) == ("cannot read a.json", "it is empty")
    assert str(MalformedFile("as the worker sends it")) == "as the worker sends it"
    assert isinstance(error, InputError)


class Small(Config):
    size: int = 1


@pytest.mark.parametrize("line", ["k{} = 1", "[t{}]", "'a key {}' = 1"])
def test_unknown_keys_are_named_and_the_rest_counted(tmp_path, line):
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(line.format(number) for number in range(1000)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown key .* \(known: size\).*; and 950 more[.]$"):
        read_toml(path, Small)


def test_a_huge_value_is_named_in_short(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(f'size = "{"x" * 200_000}"', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_toml(path, Small)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"NaN", b'{"a": 1', b'["\xff"]', b"[1] 2"], ids=["deep", "NaN", "cut", "not UTF-8", "more"]
)
def test_a_parser_of_one_shape_raises_one_error(text):
    with pytest.raises(ValueError, match=r"."):
        shape_parser(list[Any])(text)
    assert shape_parser(list[int])(b" [1, 2]") == [1, 2]


def test_no_other_module_calls_the_parsers():
    """Such a call is a way past the limits; what is parsed there must be our own text, written a line before."""
    calls = re.compile(r"\b(?:json\.loads?|tomllib\.loads?|json\.decode|json\.Decoder)\(")
    own = {"core/parsing.py", "models/onnx_example.py"}  # the example runs without this package
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if any(
            calls.search(line) and "json.loads(json.dumps(" not in line for line in path.read_text("utf-8").splitlines()
        )
    }
    assert found <= own
