"""How what was found is judged, by hand-made sums."""

import json
import math
from pathlib import Path

import pytest

from evaluation.__main__ import main
from evaluation.judged import JudgedSet, missing_in, scores


@pytest.mark.parametrize(
    ("found", "gains", "ndcg", "recall"),
    [
        (["a", "b"], {"a": 1, "b": 1}, 1.0, 1.0),
        (["a"], {"a": 1, "b": 1}, 1 / (1 + 1 / math.log2(3)), 0.5),
        (["x", "a"], {"a": 1}, 1 / math.log2(3), 1.0),
        (["b", "a"], {"a": 2, "b": 1}, (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)), 1.0),
        (["x"] * 10 + ["a"], {"a": 1}, 0.0, 0.0),
        ([], {"a": 1}, 0.0, 0.0),
    ],
)
def test_scores(found: list[str], gains: dict[str, int], ndcg: float, recall: float) -> None:
    assert scores(found, gains) == (pytest.approx(ndcg), pytest.approx(recall))


def test_more_than_ten_answers_can_be_found_to_the_full() -> None:
    gains = {str(n): 1 for n in range(20)}
    assert scores([str(n) for n in range(10)], gains) == (pytest.approx(1), 0.5)


def test_a_set_is_read(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text(json.dumps({"id": "1", "title": "A", "text": "a"}))
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "text": "a?"}\n{"id": "nothing", "text": "b?"}\n')
    (tmp_path / "judgements.tsv").write_text("query\tdocument\tgain\nq\t1\t3\nq\t2\t0\n")
    assert missing_in(tmp_path) == []
    judged = JudgedSet(tmp_path)
    assert [query["id"] for query in judged.queries] == ["q"]
    assert judged.gains == {"q": {"1": 3}}


async def test_what_a_folder_lacks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "documents.jsonl").write_text("")
    assert await main([tmp_path]) == 1
    said = capsys.readouterr().out
    assert "queries.jsonl, judgements.tsv missing" in said
    assert "EVAL_DATA" in said
