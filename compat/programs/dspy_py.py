"""dspy, which brings litellm: chat completions."""

import dspy
import litellm
from cells import BASE, BROKE_KEY, KEY, MODEL, PROMPT, WRONG_KEY, refused, run


def model(key: str = KEY, name: str = MODEL) -> dspy.LM:
    return dspy.LM(f"openai/{name}", api_base=f"{BASE}/v1", api_key=key, cache=False, num_retries=0)


def text() -> None:
    (answer,) = model()(PROMPT)
    assert PROMPT in (answer if isinstance(answer, str) else answer["text"])


run(
    text=text,
    unauthorized=refused(lambda: model(WRONG_KEY)(PROMPT), litellm.AuthenticationError, dspy.LMError)
    if hasattr(dspy, "LMError")
    else refused(lambda: model(WRONG_KEY)(PROMPT), litellm.AuthenticationError),
    over_budget=refused(lambda: model(BROKE_KEY)(PROMPT), Exception),
    unknown_model=refused(lambda: model(name="no-such-model")(PROMPT), Exception),
)
