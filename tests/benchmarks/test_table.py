"""The table of the benchmarks says what the results say."""

from __future__ import annotations

import json

import pytest

from benchmarks import table
from benchmarks.answer import Answer, at_least, at_most, unmeasured

ABOUT = {
    "commit": "abc",
    "took_s": 2,
    "machine": {"cpu": "a CPU", "cores": 2, "python": "3.11", "load_before": [0.1, 0.2, 0.3]},
}


def written(tmp_path, **results: dict) -> str:
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**ABOUT, **result}))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.rewrite(["one", "two"], readme, tmp_path)
    return readme.read_text()


def test_rows_say_what_was_measured_and_whether_it_is_enough(tmp_path):
    rows = [at_least("speed", 12345.6, 60, " x"), at_most("delay", 30.04, 30, " ms", "late")]
    text = written(tmp_path, one=Answer(rows).plain())
    assert "| speed | at least 60 x | 12,346 x | yes |  |" in text
    assert "| delay | at most 30 ms | 30 ms | **no** | late |" in text  # rounded for the eye alone
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text


def test_what_is_missing_or_failed_hides_nothing_else(tmp_path):
    text = written(
        tmp_path,
        one={"rows": [], "error": "OSError: gone"},
        two=Answer([unmeasured("rate", "at least 1", "no CUDA device")]).plain(),
    )
    assert "| `one` | - | - | - | failed: OSError: gone |" in text
    assert "| rate | at least 1 | - | - | no CUDA device |" in text


def test_a_readme_without_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="lacks"):
        table.rewrite([], tmp_path / "README.md", tmp_path)


def test_the_readme_has_its_markers():
    text = table.README.read_text("utf-8")
    assert text.index(table.BEGIN) < text.index(table.END)
