"""A stream of `/v1/responses` whose client dies at any event is continued by the OpenAI SDK at another process.

Each time a client reads a random number of events and is gone; another goes on at the other process after the last
number that the first saw. What both saw must be, to the byte, what a third reads from the beginning once all is over.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from tests.api.v1.responses.joining import joined
from tests.committed.server import ServerProcess, running
from tests.helpers import make_tenant

SETTINGS = {
    "llm_provider": "mock",
    "llm_mock_latency_seconds": "1.5",
    "max_running_messages_per_tenant": "100",
    "log_level": "WARNING",
}
WORDS = ("rain", "Zürich", "雨が降る", "🌧️", "\u2028", "data: x\n\n", "“so”", "\\n", "tomorrow", "{}", "\u0085", "ok.\n")


async def main(times: int, at_once: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="proof-resume-") as directory:
        async with running(Path(directory), **SETTINGS) as first, running(Path(directory), **SETTINGS) as second:
            async with first.client() as client:
                token = (await make_tenant(client)).user.token
            clients = [_client(server, token) for server in (first, second)]
            began, differing, cuts = time.monotonic(), 0, []
            room = asyncio.Semaphore(at_once)

            async def once(number: int) -> None:
                nonlocal differing
                async with room:
                    same, cut = await _trial(clients, random.Random(seed * 1_000_000 + number))
                differing += not same
                cuts.append(cut)

            await asyncio.gather(*(once(number) for number in range(times)))
            for each in clients:
                await each.close()
    within = sum(cut < 1 for cut in cuts)
    print(
        f"{times} streams died and were continued at another process, {within} of them before their answer had ended:"
        f" {times - differing} byte-equal, {differing} not; {time.monotonic() - began:.0f} s, seed {seed}"
    )
    return 1 if differing else 0


def _client(server: ServerProcess, token: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=token, base_url=f"http://127.0.0.1:{server.port}/v1", timeout=120)


async def _trial(clients: list[AsyncOpenAI], dice: random.Random) -> tuple[bool, float]:
    """Whether both readers together saw what there is; and which part of it the first one saw."""
    here, there = dice.sample(clients, 2)
    said = " ".join(dice.choices(WORDS, k=dice.randint(1, 60)))
    stream = await here.responses.create(model="mock-echo", input=said, instructions="Be brief.", stream=True)
    read, patience = [], dice.randint(1, 70)
    async for event in stream:
        read.append(_of(event))
        if len(read) == patience or event.type == "response.completed":
            break
    await stream.close()
    response_id = read[0]["response"]["id"]
    last = read[-1]["sequence_number"]
    rest = await _read(there, response_id, starting_after=last)
    whole = await _read(dice.choice(clients), response_id)
    stored = await there.responses.retrieve(response_id)
    same = _bytes(read + rest) == _bytes(whole) and stored.to_dict() == whole[-1]["response"]
    if not same:
        print(f"{response_id} after {last}:\n{_bytes(read + rest)!r}\n{_bytes(whole)!r}", file=sys.stderr)
    return same, last / whole[-1]["sequence_number"]


async def _read(client: AsyncOpenAI, response_id: str, **after: int) -> list[dict[str, Any]]:
    return [_of(event) async for event in await client.responses.retrieve(response_id, stream=True, **after)]


def _of(event: Any) -> dict[str, Any]:
    event_: dict[str, Any] = event.to_dict()
    return event_


def _bytes(events: list[dict[str, Any]]) -> bytes:
    return json.dumps(joined(events), ensure_ascii=False).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    sys.exit(asyncio.run(main(wanted.times, wanted.at_once, wanted.seed)))
