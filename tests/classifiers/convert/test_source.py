from __future__ import annotations

import sys

import pytest

from classifiers.convert.errors import ConversionError
from classifiers.convert.source import find
from tests.classifiers.convert.tiny import write_model

CARD = "---\nlicense: apache-2.0\nlanguage: [en, de]\n---\n# A model\n"


def test_a_folder_says_what_it_is(tmp_path):
    directory = write_model(tmp_path / "My-Guard", "guard")
    (directory / "README.md").write_text(CARD, encoding="utf-8")
    source = find(str(directory))

    assert (source.origin, source.revision) == ("My-Guard", "")
    assert (source.architecture, source.license, source.languages) == (
        "Qwen3ForGuardModel",
        "apache-2.0",
        ["en", "de"],
    )


@pytest.mark.parametrize("card", ["", "# A model\n", "---\n[broken\n---\n", "---\n- a list\n---\n"])
def test_a_card_may_say_nothing(card, tmp_path):
    directory = write_model(tmp_path / "model", "guard")
    (directory / "README.md").write_text(card, encoding="utf-8")

    assert (find(str(directory)).license, find(str(directory)).languages) == ("", [])


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"10": "k", "2": "c", "0": "a"}}, ["a", "c", "k"]),
        ({"id2label": None, "num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"id2label": None}, ["LABEL_0", "LABEL_1"]),
    ],
)
def test_labels_are_in_the_order_of_the_head(config, labels, tmp_path):
    assert find(str(write_model(tmp_path / "model", "qwen2-sequence", **config))).labels == labels


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused(missing, tmp_path):
    directory = write_model(tmp_path / "model", "guard")
    (directory / missing).unlink()

    with pytest.raises(ConversionError, match=f"no {missing}"):
        find(str(directory))


def test_a_config_that_is_none_is_refused(tmp_path):
    directory = write_model(tmp_path / "model", "guard")
    (directory / "config.json").write_text("{", encoding="utf-8")

    with pytest.raises(ConversionError, match=r"config\.json: not JSON"):
        find(str(directory))


def test_what_is_neither_folder_nor_hub_id_is_refused():
    with pytest.raises(ConversionError, match="neither a folder nor a hub id"):
        find("/no/such/folder")


class Hub:
    """Stands in for huggingface_hub."""

    def __init__(self, directory=None):
        self.directory, self.asked = directory, []

    def snapshot_download(self, hub_id, *, revision, allow_patterns):
        self.asked.append((hub_id, revision))
        assert "*.safetensors" in allow_patterns
        if self.directory is None:
            raise ConnectionError("no route\nto anywhere")
        return str(self.directory)


def test_a_hub_id_is_fetched(tmp_path, monkeypatch):
    hub = Hub(write_model(tmp_path / "abc123", "guard"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    source = find("someone/guard", "main")

    assert hub.asked == [("someone/guard", "main")]
    assert (source.origin, source.revision) == ("someone/guard", "abc123")


def test_without_a_network_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub())

    with pytest.raises(
        ConversionError, match=r"someone/guard: cannot be fetched .*no route\)\. Without a network, copy"
    ):
        find("someone/guard")


def test_without_the_hubs_client_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(ConversionError, match="huggingface_hub is needed: pip install"):
        find("someone/guard")
