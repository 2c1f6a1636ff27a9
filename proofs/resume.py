"""A stream of `/v1/responses` whose client dies at any event is continued by the OpenAI SDK at another process.

Each time a client reads a random number of events and is gone; another goes on at the other process after the last
number that the first saw. What both saw must be, to the byte, what a third reads from the beginning once all is over.
"""

import asyncio
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from soak.service import POSTGRES_OPTIONS, SETTINGS, serving
from tests.api.v1.responses.joining import joined
from tests.helpers import make_tenant

AT_ONCE = 20
# A second and a half is longer than it takes the first reader to die and the second to come.
SLOWLY = {**SETTINGS, "LLM_MOCK_LATENCY_SECONDS": "1.5"}
WORDS = ("rain", "Zürich", "雨が降る", "🌧️", "\u2028", "data: x\n\n", "“so”", "\\n", "tomorrow", "{}", "\u0085", "ok.\n")
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


async def run(times: int, seed: int) -> str:
    with tempfile.TemporaryDirectory(prefix="proof-resume-") as directory:
        async with EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS) as postgres:
            await migrate(postgres.url)
            async with serving(postgres.url, Path(directory), 2, SLOWLY) as ports:
                cuts = await _prove(ports, times, seed)
    early = sum(cut < 1 for cut in cuts)
    return (
        f"{times} streams died and were continued by the OpenAI SDK at another process, {early} of them before their"
        f" last event: all byte-equal"
    )


async def _prove(ports: tuple[int, ...], times: int, seed: int) -> list[float]:
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with httpx.AsyncClient(base_url=urls[0], timeout=60) as client:
        token = (await make_tenant(client)).user.token
    clients = [AsyncOpenAI(api_key=token, base_url=f"{url}/v1", timeout=120) for url in urls]
    room = asyncio.Semaphore(AT_ONCE)

    async def once(number: int) -> float:
        async with room:
            return await _trial(clients, random.Random(seed * 1_000_000 + number))

    try:
        return await asyncio.gather(*(once(number) for number in range(times)))
    finally:
        for each in clients:
            await each.close()


async def _trial(clients: list[AsyncOpenAI], dice: random.Random) -> float:
    """Which part of its stream the first reader saw."""
    here, there = dice.sample(clients, 2)
    read, patience = [], dice.randint(1, 70)
    stream = await here.responses.create(**_asked(dice), stream=True)
    async for event in stream:
        read.append(event.to_dict())
        if len(read) == patience or event.type == "response.completed":
            break
    await stream.close()
    response_id, last = read[0]["response"]["id"], read[-1]["sequence_number"]
    rest = await _read(there, response_id, starting_after=last)
    whole = await _read(dice.choice(clients), response_id)
    stored = await there.responses.retrieve(response_id)
    if _bytes(read + rest) != _bytes(whole) or stored.to_dict() != whole[-1]["response"]:
        raise SystemExit(f"{response_id} after {last}:\n{_bytes(read + rest)!r}\nis not\n{_bytes(whole)!r}")
    return float(last / whole[-1]["sequence_number"])


def _asked(dice: random.Random) -> dict[str, Any]:
    """A text, thoughts, a call of a function, or several of them."""
    asked: dict[str, Any] = {"model": "mock-echo", "instructions": "Be brief.", "metadata": {"b": "2", "a": "1"}}
    asked["input"] = " ".join(dice.choices(WORDS, k=dice.randint(1, 60)))
    if dice.random() < 0.5:
        asked["reasoning"] = {"effort": "low", "summary": "auto"}
        asked["include"] = ["reasoning.encrypted_content"]
    if dice.random() < 0.3:
        asked["tools"] = [WEATHER]
        asked["tool_choice"] = "required"
    return asked


async def _read(client: AsyncOpenAI, response_id: str, **after: int) -> list[dict[str, Any]]:
    return [event.to_dict() async for event in await client.responses.retrieve(response_id, stream=True, **after)]


def _bytes(events: list[dict[str, Any]]) -> bytes:
    return json.dumps(joined(events), ensure_ascii=False).encode()
