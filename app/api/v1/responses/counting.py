"""About how many tokens a request is."""

import json
from dataclasses import asdict

from app.api.v1.fields import Fields
from app.api.v1.responses.options import read_options
from app.api.v1.responses.reading import Reference, read_items
from app.llm.pricing import estimated_tokens
from app.messages.turns import tokens_of

STORED = ("previous_response_id", "conversation")


def count(fields: Fields) -> int:
    """Images count by their number, and are not looked at.

    Raises:
        InvalidRequest: also for what is stored, which is not counted.
    """
    for name in STORED:
        if fields.raw(name) is not None:
            fields.refuse(name, "what is stored is not counted here: send its items", "unsupported_parameter")
    fields.model()
    options = read_options(fields).options
    items = []
    for number, item in enumerate(read_items(fields)):
        if isinstance(item, Reference):
            fields.refuse(f"input[{number}]", "what is stored is not counted here: send the item", "unsupported_value")
        items.append(item)
    tools = [json.dumps(asdict(tool)) for tool in options.tools]
    if options.output_format is not None:
        tools.append(json.dumps(options.output_format.schema))
    texts = (fields.text("instructions") or "", *tools)
    return tokens_of(items) + sum(estimated_tokens(text) for text in texts)
