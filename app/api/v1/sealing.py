"""Reasoning that only its provider can read, as one string that a client keeps and sends back."""

import base64
import binascii
import json

from app.core.items import Reasoning
from app.messages.log import storable_json


def sealed(reasoning: Reasoning) -> str | None:
    """None: there is nothing that its provider would want back."""
    if reasoning.sealed is None:
        return None
    whole = {"provider": reasoning.provider, "text": reasoning.text, "sealed": reasoning.sealed}
    return base64.b64encode(json.dumps(whole, separators=(",", ":")).encode()).decode()


def unsealed(value: str) -> Reasoning | None:
    """None: this was not sealed here."""
    try:
        whole = json.loads(base64.b64decode(value, validate=True))
        # Whoever sends it may have written it.
        text, provider, content = (storable_json(whole[name]) for name in ("text", "provider", "sealed"))
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(text, str) and isinstance(provider, str) and isinstance(content, dict)):
        return None
    return Reasoning(text, provider, content)
