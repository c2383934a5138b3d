"""`python -m classifiers.entities`: precision and recall of the pack on made-up cases, by category.

A case counts as found if exactly its entity is found, from its first code point to its last.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from classifiers.entities.cases import Case, cases
from guardrail.engine.lexicon import Lexicon, Reading
from guardrail.engine.manifest_lexical import LexicalPack
from guardrail.engine.pack import load_pack

CASES_OF_A_KIND = 200


@dataclass(slots=True)
class Tally:
    """What came of a category's cases."""

    found: int = 0
    missed: int = 0
    false: int = 0
    rejected: int = 0

    @property
    def precision(self) -> float:
        """Of what was found, the share that is right."""
        return self.found / max(1, self.found + self.false)

    @property
    def recall(self) -> float:
        """Of what is there, the share that was found."""
        return self.found / max(1, self.found + self.missed)


def measure(pack: LexicalPack, some: Iterable[Case]) -> dict[str, Tally]:
    """Category to what came of its cases."""
    lexicon = Lexicon(pack.patterns)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for case in some:
        found = lexicon.read(Reading(), case.text, ends_word=True)
        entities = [
            case.text[each.span.start : each.span.end]
            for each in (*found.entities, *found.standing)
            if each.pattern.category == case.category
        ]
        tally = tallies[case.category]
        right = case.entity in entities if case.entity else False
        tally.found += right
        tally.missed += bool(case.entity) and not right
        tally.false += len(entities) - right
        tally.rejected += not case.entity and not entities
    return tallies


def main() -> int:
    """Print the table of the card."""
    pack = load_pack("entities")
    assert isinstance(pack, LexicalPack)
    print("| category | entities | look-alikes | precision | recall |\n|---|---|---|---|---|")
    for category, tally in measure(pack, cases(CASES_OF_A_KIND)).items():
        there, like = tally.found + tally.missed, tally.rejected + tally.false
        print(f"| `{category}` | {there} | {like} | {tally.precision:.3f} | {tally.recall:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
