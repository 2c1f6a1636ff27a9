"""What a call needs a model to be able to do, and how its options are fitted to the model."""

from collections.abc import Sequence
from dataclasses import replace

from app.core.errors import UnsupportedByModel
from app.core.items import Item, Options
from app.core.settings.models import Capability
from app.llm.catalogue import Model
from app.llm.pricing import estimated_input, images_in

# English has four to five bytes a token. What is refused must be too long beyond doubt: a provider refuses the rest.
SURE = 0.75
WORDS: dict[Capability, str] = {
    "tools": "call tools",
    "images": "read images",
    "reasoning": "be told how hard to think",
    "json_schema": "answer by a JSON schema",
}


def needs_of(items: Sequence[Item], options: Options) -> set[Capability]:
    """What cannot be left out."""
    needs: set[Capability] = set()
    if options.tools:
        needs.add("tools")
    if options.output_format is not None:
        needs.add("json_schema")
    if options.reasoning_effort not in (None, "none"):
        needs.add("reasoning")
    if images_in(items):
        needs.add("images")
    return needs


def require(model: Model, items: Sequence[Item], options: Options) -> None:
    """Raise `UnsupportedByModel` if the model cannot do what is asked, or not with so much."""
    for need in sorted(needs_of(items, options) - model.capabilities):
        raise UnsupportedByModel(f"The model {model.name} cannot {WORDS[need]}.")
    if model.context_tokens is not None and estimated_input(items) * SURE > model.context_tokens:
        raise UnsupportedByModel(f"The input is longer than what the model {model.name} reads.")


def fitted(model: Model, options: Options) -> Options:
    """The options as the model takes them: its bound on the answer at most, and without what it does not know."""
    most = min(options.max_output_tokens or model.max_output_tokens, model.max_output_tokens)
    options = replace(options, max_output_tokens=most)
    if "sampling" not in model.capabilities:
        options = replace(options, temperature=None, top_p=None, frequency_penalty=None, presence_penalty=None)
    return options if "seed" in model.capabilities else replace(options, seed=None)


def room(model: Model, tokens: int) -> int:
    """Of `tokens` for a conversation, what the model can read beside its answer."""
    return tokens if model.context_tokens is None else min(tokens, model.context_tokens - model.max_output_tokens)
