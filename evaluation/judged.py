"""Judged sets: documents, questions, and what each document is worth to each; and how well something found them."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

DEPTH = 10
DOCUMENTS, QUERIES, JUDGEMENTS = "documents.jsonl", "queries.jsonl", "judgements.tsv"


def missing_in(folder: Path) -> list[str]:
    """The files of a judged set that a folder lacks."""
    return [name for name in (DOCUMENTS, QUERIES, JUDGEMENTS) if not (folder / name).is_file()]


class JudgedSet:
    """`documents` {id, title, text}; `queries` {id, text}; `gains`: for each question, what a document is worth."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self.documents = [json.loads(line) for line in (folder / DOCUMENTS).read_text().splitlines()]
        self.gains: dict[str, dict[str, int]] = defaultdict(dict)
        for line in (folder / JUDGEMENTS).read_text().splitlines()[1:]:
            query, document, gain = line.split("\t")
            if int(gain) > 0:
                self.gains[query][document] = int(gain)
        every = [json.loads(line) for line in (folder / QUERIES).read_text().splitlines()]
        # Of a question that nothing answers, there is nothing to find.
        self.queries = [query for query in every if query["id"] in self.gains]


def scores(found: Sequence[str], gains: Mapping[str, int]) -> tuple[float, float]:
    """nDCG and recall at `DEPTH`; a gain counts as 2^gain - 1."""
    found = found[:DEPTH]
    gained = sum((2 ** gains.get(name, 0) - 1) / math.log2(rank + 2) for rank, name in enumerate(found))
    best = sorted(gains.values(), reverse=True)[:DEPTH]
    ideal = sum((2**gain - 1) / math.log2(rank + 2) for rank, gain in enumerate(best))
    return gained / ideal, sum(name in gains for name in found) / len(gains)
