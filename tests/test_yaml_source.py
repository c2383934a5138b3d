"""YAML that says where each value stands, and refuses what would be read silently wrong (invariant 9)."""

from __future__ import annotations

import pytest

from guardrail.errors import ConfigError
from guardrail.yaml_source import read_yaml


@pytest.fixture
def read(tmp_path):
    def reader(text: str | bytes):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_yaml(path)

    return reader


@pytest.fixture
def refusal(read):
    def refused(text: str | bytes) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert caught.value.source.endswith("a.yaml")
        return caught.value

    return refused


def test_each_key_has_a_line(read):
    source = read("a: 1\n\nb:\n  c: [x, y]\n  2:\n    d: e\n")
    assert source.data == {"a": 1, "b": {"c": ["x", "y"], 2: {"d": "e"}}}
    assert source.line(("a",)) == 1
    assert source.line(("b", "c")) == 4
    assert source.line(("b", 2, "d")) == 6


def test_an_unknown_key_has_the_line_of_what_holds_it(read):
    source = read("a: 1\nb:\n  c: 2\n")
    assert source.line(("b", "missing", "deeper")) == 2
    assert source.line(("missing",)) is None
    assert source.line(()) is None


def test_items_of_a_list_have_lines(read):
    assert read("a:\n  - x\n  - y: 1\n").line(("a", 1, "y")) == 3


def test_an_empty_file_holds_nothing(read):
    assert read("").data is None
    assert read("# only a comment\n").data is None


def test_a_byte_order_mark_and_other_scripts_are_fine(read):
    assert read("\ufeffname: 守护\n").data == {"name": "守护"}


def test_a_key_given_twice_is_refused_with_the_line_of_the_second(refusal):
    error = refusal("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert (error.line, error.key, error.reason) == (4, "a.b", "is given twice")


def test_the_same_number_as_a_key_twice_is_refused_however_written(refusal):
    assert refusal("a: {1: x, 0x1: y}\n").key == "a.1"


def test_the_same_key_under_different_parents_is_fine(read):
    assert read("a: {x: 1}\nb: {x: 1}\n").data == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 'open\n", None),
        ("a: *nobody\n", 1),
        ("---\na: 1\n---\nb: 2\n", 3),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(refusal, text, line):
    error = refusal(text)
    assert error.reason
    if line is not None:
        assert error.line == line


@pytest.mark.parametrize(
    "text", ["a: 2020-99-99\n", "a: !!int x\n", "a: !!python/object:os.system x\n", "a: \x00\n"]
)
def test_a_value_that_cannot_be_read_is_a_config_error_and_no_crash(refusal, text):
    assert refusal(text).reason


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "[" * 5000])
def test_a_file_without_a_bottom_is_refused(refusal, text):
    assert "nested too deeply" in refusal(text).reason


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(refusal):
    error = refusal(b"name: gr\xfc\xdfe\n")
    assert "not UTF-8" in error.reason
    assert "byte 8" in error.reason


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file") as caught:
        read_yaml(tmp_path / "nowhere.yaml")
    assert caught.value.key == ""


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="directory"):
        read_yaml(tmp_path)
