"""Words that nobody else says, planted by every way by which a tenant's text comes in.

Each way has a word of its own, so that whoever finds one knows by which way it came.
"""

import asyncio
import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from app.core.ids import new_id

LETTERS = "bcdfghjklmnpqrtvwxz"
LENGTH = 18
SECONDS = 120.0
HERE = "CANARY"
# Of the document, which is kept to be asked for.
THERE = "DOCUMENTED"
READY_SECONDS, LOOK_SECONDS = 60.0, 0.1
_SAID = [{"role": "user", "content": HERE}]
_TOOL = {"name": "look", "description": HERE, "parameters": {"type": "object", "description": HERE}}
_CHAT = {
    "messages": [{"role": "system", "content": HERE}, *_SAID],
    "metadata": {"of": HERE},
    "tools": [{"type": "function", "function": _TOOL}],
}
_RESPONSE = {
    "input": HERE,
    "instructions": HERE,
    "metadata": {"of": HERE},
    "tools": [{"type": "function", **_TOOL}],
}
_ANTHROPIC = {
    "messages": _SAID,
    "system": HERE,
    "max_tokens": 200,
    "tools": [{"name": "look", "description": HERE, "input_schema": {"type": "object", "description": HERE}}],
}
_MESSAGE = {"content": HERE, "metadata": {"of": HERE}}
_ONE = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Way:
    """`answers`: it has to be answered, else it has to be refused; None: as the settings have it."""

    name: str
    path: str
    body: dict[str, Any]
    answers: bool | None = True
    headers: dict[str, str] = field(default_factory=dict)


def _both(path: str, body: dict[str, Any]) -> list[Way]:
    whole = Way(f"POST {path}", path, body)
    return [whole, Way(f"POST {path}, streamed", path, {**body, "stream": True})]


def _refused(path: str, body: dict[str, Any], **further: Any) -> list[Way]:
    return [
        Way(f"POST {path} with {name}", path, {**body, name: value}, answers=False) for name, value in further.items()
    ]


DOCUMENT = Way(
    "POST /documents", "/documents", {"name": "verify.txt", "text": f"The word of the day is {THERE}."}, answers=None
)
_ASKED = {"content": f"{HERE}: what is said of {THERE}?"}
WAYS = (
    *_both("/messages", _MESSAGE),
    Way("POST /messages with tools", "/messages", {**_MESSAGE, "tools": [_TOOL]}),
    Way("POST /messages in parts", "/messages", {"content": [{"type": "text", "text": HERE}]}),
    Way("POST /messages with a key", "/messages", _MESSAGE, headers={"Idempotency-Key": HERE.lower()}),
    *_refused(
        "/messages", _MESSAGE, background=True, conversation_id=_ONE, webhook_url=f"https://hooks.invalid/{HERE}",
    ),
    *_refused("/messages", _ASKED, documents=True),
    Way("POST /conversations", "/conversations", {"title": HERE, "system_prompt": HERE}, answers=False),
    *_both("/v1/chat/completions", _CHAT),
    *_refused("/v1/chat/completions", _CHAT, store=True),
    *_both("/v1/responses", _RESPONSE),
    *_refused(
        "/v1/responses", _RESPONSE, background=True, store=True, conversation=f"conv_{_ONE}",
        previous_response_id=f"resp_{_ONE}",
    ),
    Way("POST /v1/responses/input_tokens", "/v1/responses/input_tokens", {"input": HERE}),
    Way("POST /v1/conversations", "/v1/conversations", {"metadata": {"of": HERE}}, answers=False),
    *_both("/v1/messages", _ANTHROPIC),
    Way("POST /v1/messages/count_tokens", "/v1/messages/count_tokens", {"messages": _SAID}),
    Way("POST /search", "/search", {"query": f"{HERE} {THERE}"}, answers=None),
    Way("POST /v1/embeddings", "/v1/embeddings", {"input": HERE}, answers=None),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    way: Way
    word: str
    status: int

    @property
    def as_it_should(self) -> bool:
        answered = self.status < 300
        refused = self.status in (400, 404, 409, 422, 501)
        return (answered or refused) if self.way.answers is None else (answered if self.way.answers else refused)


class Needles:
    """The planted words in the forms in which bytes may hold them. They begin with the same letters, looked for first.

    `common`: those letters, lower, in each form.
    """

    def __init__(self, planted: list[Planted]) -> None:
        self._names = {form: one.way.name for one in planted for form in _forms(one.word)}
        self.common = _forms(planted[0].word[: LENGTH // 2])

    def within(self, data: bytes) -> set[str]:
        """The ways by which the words that are in it came."""
        lower = data.lower()
        if not any(form.encode() in lower for form in self.common):
            return set()
        return {name for form, name in self._names.items() if form.encode() in lower} or {"a piece of a word"}


def new_beginning() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH // 2))


def new_word(beginning: str) -> str:
    return beginning + new_beginning()


def _forms(word: str) -> list[str]:
    forms = [word, word.encode().hex()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + word.encode()).decode().rstrip("=")
        # Without the characters that its neighbours have a part in.
        forms.append(encoded[4 if shift else 0 : -1 if len(encoded) % 4 else None].lower())
    return forms


async def plant(
    url: str, email: str, password: str, tenant_id: str, days: int, *, caches: bool
) -> tuple[list[Planted], Planted]:
    """Let a tenant keep messages for so many days, and say a word by each way; the last one is the document's.

    `caches`: it keeps answers for equal prompts too, as far as it keeps anything. Raises `httpx2.HTTPError`.
    """
    async with httpx2.AsyncClient(base_url=url, timeout=SECONDS) as client:
        token = await log_in(client, email, password)
        headers = {"Authorization": f"Bearer {token}"}
        body = {"message_retention_days": days} | ({"cache_ttl_seconds": 60} if caches else {})
        (await client.patch(f"/tenants/{tenant_id}", json=body, headers=headers)).raise_for_status()
        models = (await client.get("/models", headers=headers)).raise_for_status().json()
        default = next(model["id"] for model in models if model["default"])
        document = await _upload(client, headers)
        planted, beginning = [], new_beginning()
        for way in WAYS:
            word = new_word(beginning)
            named = {"model": default, **way.body} if way.path.startswith("/v1/") else way.body
            sent = json.loads(json.dumps(named).replace(HERE, word).replace(THERE, document.word))
            extra = {name: f"{value}-{new_id()}" for name, value in way.headers.items()}
            answer = await client.post(way.path, json=sent, headers=headers | extra)
            planted.append(Planted(way, word, answer.status_code))
        return planted, document


async def _upload(client: httpx2.AsyncClient, headers: dict[str, str]) -> Planted:
    """A document that can be found, where the service has any; one that nobody reads in time is as 504."""
    word = new_word(new_beginning())
    body = json.loads(json.dumps(DOCUMENT.body).replace(THERE, word))
    answer = await client.post(DOCUMENT.path, json=body, headers=headers)
    if answer.status_code >= 300:
        return Planted(DOCUMENT, word, answer.status_code)
    path, deadline = f"{DOCUMENT.path}/{answer.json()['id']}", time.monotonic() + READY_SECONDS
    while (await client.get(path, headers=headers)).json()["status"] != "ready":
        if time.monotonic() > deadline:
            return Planted(DOCUMENT, word, 504)
        await asyncio.sleep(LOOK_SECONDS)
    return Planted(DOCUMENT, word, answer.status_code)


async def uproot(url: str, email: str, password: str, tenant_id: str, name: str) -> None:
    """Erase the tenant; raises `httpx2.HTTPError`."""
    async with httpx2.AsyncClient(base_url=url, timeout=SECONDS) as client:
        headers = {"Authorization": f"Bearer {await log_in(client, email, password)}"}
        erased = await client.delete(f"/tenants/{tenant_id}", params={"name": name}, headers=headers)
        erased.raise_for_status()


async def log_in(client: httpx2.AsyncClient, email: str, password: str) -> str:
    answer = await client.post("/login", json={"email": email, "password": password})
    token: str = answer.raise_for_status().json()["access_token"]
    return token
