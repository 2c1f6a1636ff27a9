"""Two months of messages, as rows: who said what, when, what came of it, and what it cost.

Made of dice that begin alike each time. Costs are worked out as the service does it, by the prices of `firm.RATES`.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.completion import Completion
from app.core.ids import new_id
from app.core.item_json import items_to_json
from app.core.items import Item, Message, Options, Reasoning, Tool, ToolCall, ToolResult
from app.core.settings.models import Price
from app.documents.asked import Asked
from app.llm import pricing
from app.llm.pricing import estimated_tokens
from app.messages.contents import Request
from demo import talk
from demo.firm import DAYS, RATES

PRICES = {model: Price(**rates) for model, rates in RATES.items()}
PER_WORKING_DAY = 24
SHARE_OF_WEEKEND = 0.2
FIND = Tool("find_parcel", "Where a parcel was scanned last.", {
    "type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"],
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Author:
    """A user, or one of its keys (`line`), from `since` to `until`. `api`: what its program speaks; None: ours."""

    user_id: str
    weight: int
    topics: Sequence[str]
    models: dict[str, int]
    since: datetime
    until: datetime
    line: str | None = None
    api: str | None = None


@dataclass(slots=True)
class History:
    """Rows of `messages` (some with `request` and `output` for `message_contents`) and of `conversations`."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    conversations: list[dict[str, Any]] = field(default_factory=list)

    def ordered(self) -> list[dict[str, Any]]:
        """By time, and so by id."""
        self.messages.sort(key=lambda row: row["created_at"])
        return [{**row, "id": new_id()} for row in self.messages]


def two_months(authors: Sequence[Author], now: datetime, citations: Sequence[Sequence[Any]]) -> History:
    """`citations`: of each question in `talk.ASKS_DOCUMENTS`; none where there are no documents."""
    return _Chronicle(authors, now).written(citations)


class _Chronicle:
    def __init__(self, authors: Sequence[Author], now: datetime) -> None:
        self._authors, self._now = authors, now
        self._dice = random.Random(2026)  # noqa: S311 - nothing is secret here
        self._history = History()

    def written(self, citations: Sequence[Sequence[Any]]) -> History:
        for at in self._moments():
            there = [author for author in self._authors if author.since < at < author.until]
            if there:
                self._speak(self._dice.choices(there, [author.weight for author in there])[0], at)
        person = next(author for author in self._authors if "code" in author.topics and not author.line)
        self._long_talk(person, self._now - timedelta(days=17, hours=3))
        self._with_tools(person, self._now - timedelta(days=2, hours=1))
        for number, found in enumerate(citations):
            self._ask_documents(person, number, list(found))
        return self._history

    def _moments(self) -> Iterator[datetime]:
        """Most of them in working hours, and a few more each week."""
        today = datetime(self._now.year, self._now.month, self._now.day, tzinfo=UTC)
        for ago in range(DAYS, -1, -1):
            day = today - timedelta(days=ago)
            busy = (1.3 - 0.6 * ago / DAYS) * (SHARE_OF_WEEKEND if day.weekday() > 4 else 1.0)
            for _ in range(round(self._dice.gauss(PER_WORKING_DAY * busy, 3))):
                at = day + timedelta(hours=min(max(self._dice.gauss(12.5, 3.2), 0.1), 23.8))
                if at < self._now - timedelta(minutes=2):
                    yield at

    def _speak(self, author: Author, at: datetime) -> None:
        topic = self._dice.choice(author.topics)
        turns = self._dice.choices([1, 2, 3, 5], [85, 8, 5, 2])[0] if author.line is None else 1
        conversation = self._conversation(author, at, None) if turns > 1 else None
        for pair in self._dice.sample(talk.TOPICS[topic], min(turns, len(talk.TOPICS[topic]))):
            question, answer = talk.filled(self._dice, pair)
            if conversation is not None and conversation["title"] is None:
                conversation["title"] = question[:60]
            row = self._row(author, at, question, conversation)
            self._ended(row, author, answer, topic)
            at += timedelta(seconds=self._dice.randint(40, 400))
            if at > self._now:
                return

    def _ended(self, row: dict[str, Any], author: Author, answer: str, topic: str) -> None:
        model = self._dice.choices(list(author.models), list(author.models.values()))[0]
        row["asked_model"] = None if model == "quick" and author.line is None else model
        fate = self._dice.random()
        if fate < 0.035:
            self._fail(row, model)
        elif fate < 0.055:
            self._answer(row, model, answer[: len(answer) // 3], topic, "cancelled", None)
        elif fate < 0.085 and model == "quick":
            row |= {"response": answer, "model": model, "status": "completed", "finish_reason": "stop", "cached": True}
            row |= {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "cost_micro_usd": 0}
        elif fate < 0.11:
            row["attempts"] = self._dice.choice([2, 2, 3])
            self._answer(row, model, answer, topic)
        elif fate < 0.13:
            self._answer(row, model, answer[: len(answer) * 2 // 3], topic, finish_reason="length")
        else:
            self._answer(row, model, answer, topic)
        if author.api == "chat":  # as without `store`
            row |= {"content": "", "response": "", "stored": False, "request": None, "output": None}

    def _answer(
        self,
        row: dict[str, Any],
        model: str,
        answer: str,
        topic: str = "office",
        status: str = "completed",
        finish_reason: str | None = "stop",
    ) -> None:
        dice = self._dice
        # What goes along and is not the prompt: instructions, what was said before, examples.
        read = estimated_tokens(row["content"]) + dice.randint(*((2_000, 9_000) if topic == "code" else (300, 2_200)))
        thought = dice.randint(300, 2_400) if model == "deep" else 0
        wrote = estimated_tokens(answer) + thought
        cached = read // 2 if dice.random() < 0.35 and model != "local" else 0
        self._charge(row, model, read, wrote, cached)
        row |= {"response": answer, "model": model, "status": status, "finish_reason": finish_reason}
        row["updated_at"] = row["created_at"] + timedelta(seconds=0.4 + wrote / dice.randint(60, 140))
        if thought:
            row["reasoning_tokens"] = thought
            _keep(row, Options(reasoning_effort="medium"), [
                Reasoning("First what is asked, then what is known, then the shortest answer that holds.", "mock"),
                Message("assistant", answer),
            ])  # fmt: skip

    def _fail(self, row: dict[str, Any], model: str) -> None:
        code = self._dice.choices(list(talk.FAILURES), list(talk.FAILURES.values()))[0]
        row |= {"status": "failed", "error_code": code}
        row["updated_at"] = row["created_at"] + timedelta(seconds=self._dice.randint(1, 60))
        if code in ("interrupted", "empty_answer", "output_mismatch"):  # what was read and written is paid
            row["model"] = model
            self._charge(row, model, estimated_tokens(row["content"]) + 400, 40, 0)

    @staticmethod
    def _charge(row: dict[str, Any], model: str, read: int, wrote: int, cached: int) -> None:
        rates = PRICES[model].rates(read)
        cost = pricing.cost(rates, read, wrote, Completion("", model, read, wrote, cached))
        row |= {"input_tokens": read, "output_tokens": wrote, "cached_tokens": cached, "cost_micro_usd": cost}
        row["price"] = {"model": model, "source": "LLM_MODELS", **rates.model_dump(exclude_none=True)}

    # --- told one by one

    def _long_talk(self, author: Author, at: datetime) -> None:
        conversation = self._conversation(author, at, "Lost parcels", talk.SYSTEM)
        for question, answer in talk.LONG_TALK:
            row = self._row(author, at, question, conversation)
            self._answer(row, "balanced", answer)
            at += timedelta(minutes=self._dice.randint(1, 9))

    def _with_tools(self, author: Author, at: datetime) -> None:
        conversation = self._conversation(author, at, "Where is PP-21604?")
        call = ToolCall("call_1", FIND.name, '{"order": "PP-21604"}')
        asks = self._row(author, at, "Where is PP-21604?", conversation)
        self._answer(asks, "balanced", "", finish_reason="tool_calls")
        _keep(asks, Options(tools=(FIND,)), [call])
        told = self._row(author, at + timedelta(seconds=3), "", conversation)
        self._answer(told, "balanced", "It was scanned at the depot in Leipzig at 07:42, and is on the noon tour.")
        result = ToolResult(call.id, '{"depot": "Leipzig", "scanned_at": "07:42", "tour": "noon"}')
        told["has_contents"] = True
        told["request"] = Request((result,), Options(tools=(FIND,))).stored("")

    def _ask_documents(self, author: Author, number: int, citations: list[Any]) -> None:
        question, answer = talk.ASKS_DOCUMENTS[number]
        row = self._row(author, self._now - timedelta(days=3 * number + 1, hours=2), question, None)
        self._answer(row, "balanced", answer)
        row |= {"documents": Asked().stored(), "citations": citations}

    # --- rows

    def _conversation(
        self, author: Author, at: datetime, title: str | None, system_prompt: str | None = None
    ) -> dict[str, Any]:
        made = {
            "id": new_id(),
            "user_id": author.user_id,
            "title": title,
            "system_prompt": system_prompt,
            "created_at": at,
        }
        self._history.conversations.append(made)
        return made

    def _row(self, author: Author, at: datetime, content: str, conversation: dict[str, Any] | None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "content": content,
            "response": "",
            "user_id": author.user_id,
            "api_key_line": author.line,
            "api": author.api,
            "conversation_id": conversation["id"] if conversation else None,
            "cached": False,
            "attempts": 1,
            "stored": True,
            "created_at": at,
            "updated_at": at + timedelta(seconds=0.1),
        }
        self._history.messages.append(row)
        return row


def _keep(row: dict[str, Any], options: Options, output: Sequence[Item]) -> None:
    """What is more than a text, as the service stores it beside the message."""
    asked = Request((Message("user", row["content"]),), options)
    row |= {"has_contents": True, "request": asked.stored(row["content"]), "output": items_to_json(output)}


def cited(passages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Citations of what a search found."""
    shown = ("document_id", "chunk_id", "name", "page", "heading", "start", "end")
    return [
        {"source": number, **{name: passage[name] for name in shown}, "cited_text": passage["text"][:300],
         "score": passage["score"]}
        for number, passage in enumerate(passages, 1)
    ]  # fmt: skip
