"""The table in ``README.md``, written from the results so that no number is typed: ``python -m benchmarks.table``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.answer import Row

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"

_MET = {True: "yes", False: "**no**", None: "-"}


def cells(row: Row) -> str:
    """A row of Markdown."""
    value = "-" if row.value is None else f"{row.value:,g}{row.unit}"
    return f"| {row.what} | {row.target or '-'} | {value} | {_MET[row.met]} | {row.note} |"


def render(results: dict[str, dict[str, Any]]) -> str:
    """The table over results by name, in their order."""
    lines = ["| what | target | measured | met | |", "|---|---|---|---|---|"]
    for name, result in results.items():
        lines += [cells(Row(**row)) for row in result.get("rows", [])]
        if "error" in result:
            lines.append(f"| `{name}` | - | - | - | failed: {result['error']} |".replace("\n", " "))
    lines += ["", "| results | commit | machine | load before | took |", "|---|---|---|---|---|"]
    for name, result in results.items():
        on = result["machine"]
        where = f"{on['cpu']}, {on['cores']} cores, Python {on['python']}"
        load = " ".join(map(str, on["load_before"]))
        lines.append(
            f"| [{name}](results/{name}.json) | {result['commit']} | {where} | {load} | {result['took_s']:g} s |"
        )
    return "\n".join(lines)


def rewrite(names: Sequence[str], readme: Path = README, results: Path = RESULTS) -> None:
    """Put the table of all results there are between the markers of ``readme``.

    Raises:
        ValueError: the markers are not there.
    """
    found = {
        name: json.loads(path.read_text("utf-8"))
        for name in names
        if (path := results / f"{name}.json").exists()
    }
    found = {
        name: result for name, result in found.items() if "rows" in result
    }  # older ones have another form
    before, begin, rest = readme.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme.name} lacks {BEGIN} ... {END}")
    readme.write_text(f"{before}{BEGIN}\n{render(found)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    from benchmarks.__main__ import QUESTIONS

    rewrite(QUESTIONS)
