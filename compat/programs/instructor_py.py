"""instructor: a structured answer by a forced tool."""

import instructor
import openai
from cells import BASE, BROKE_KEY, KEY, MODEL, PROMPT, WRONG_KEY, refused, run
from instructor.core import InstructorRetryException
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


def ask(key: str = KEY, name: str = MODEL, mode: instructor.Mode = instructor.Mode.TOOLS) -> Person:
    client = instructor.from_openai(openai.OpenAI(base_url=f"{BASE}/v1", api_key=key), mode=mode)
    return client.chat.completions.create(
        model=name, response_model=Person, messages=[{"role": "user", "content": PROMPT}], max_retries=0
    )


def tools() -> None:
    assert isinstance(ask(), Person)


def structured() -> None:
    assert isinstance(ask(mode=instructor.Mode.JSON_SCHEMA), Person)


run(
    structured=structured,
    tools=tools,
    unauthorized=refused(lambda: ask(WRONG_KEY), openai.AuthenticationError, InstructorRetryException),
    over_budget=refused(lambda: ask(BROKE_KEY), openai.RateLimitError, InstructorRetryException),
    unknown_model=refused(lambda: ask(name="no-such-model"), openai.NotFoundError, InstructorRetryException),
)
