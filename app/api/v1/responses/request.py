"""The body of `POST /v1/responses`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.api.v1.fields import Fields, log_unknown
from app.api.v1.responses.ids import conversation_id_of, message_id_of
from app.api.v1.responses.options import read_options
from app.api.v1.responses.reading import Reference, read_items
from app.core.errors import NotFound, PreviousNotFound
from app.core.items import Item, Options, last_of_user
from app.services.prompts import Prompt

MAX_ID, MAX_PAIRS, MAX_KEY, MAX_VALUE, MAX_INCLUDED = 100, 16, 64, 512, 50
SEAL = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class ResponseAsked:
    """`with_seal`: reasoning is to come with what its provider wants back. `extra` is as in `Wanted`."""

    model: str
    items: list[Item | Reference]
    instructions: str
    options: Options
    previous_id: str | None
    conversation_id: str | None
    metadata: dict[str, str] | None
    stored: bool
    asks_to_be_stored: bool
    background: bool
    streams: bool
    with_seal: bool
    extra: dict[str, Any]

    def prompt(self, items: Sequence[Item]) -> Prompt:
        """`items` are those of the request, the named ones found."""
        return Prompt(
            content=last_of_user(items),
            conversation_id=self.conversation_id,
            streams=self.streams or self.background,
            background=self.background,
            items=tuple(items),
            instructions=self.instructions,
            options=self.options,
            model=self.model,
            api="responses",
            stored=self.stored,
            asks_to_be_stored=self.asks_to_be_stored,
            metadata=self.metadata,
            previous_id=self.previous_id,
            extra=self.extra,
        )


def read_request(fields: Fields) -> ResponseAsked:
    """Raises `InvalidRequest`."""
    wanted = read_options(fields)
    stored = fields.flag("store") is not False
    background = fields.flag("background") or False
    with_seal = SEAL in fields.list("include", MAX_INCLUDED)
    instructions, model = fields.text("instructions"), fields.model()
    asked = ResponseAsked(
        model=model,
        items=read_items(fields),
        instructions=instructions or "",
        options=wanted.options,
        previous_id=_previous(fields),
        conversation_id=_conversation(fields),
        metadata=read_metadata(fields),
        stored=stored,
        asks_to_be_stored=fields.flag("store") is True,
        background=background,
        streams=fields.flag("stream") or False,
        with_seal=with_seal,
        extra=wanted.extra | {"model": model, "store": stored, "background": background, "seal": with_seal},
    )
    if fields.raw("prompt") is not None:
        fields.refuse("prompt", "templates of prompts are not kept here", "unsupported_parameter")
    if asked.previous_id and asked.conversation_id:
        fields.refuse("previous_response_id", "choose this or `conversation`, not both")
    if not asked.items and asked.previous_id is None and asked.conversation_id is None:
        fields.refuse("input", "is required", "missing_required_parameter")
    if not stored:
        _refuse_without_store(fields, asked)
    log_unknown("responses", fields)
    return asked


def _refuse_without_store(fields: Fields, asked: ResponseAsked) -> None:
    wanted = {
        "background": asked.background,
        "previous_response_id": asked.previous_id,
        "conversation": asked.conversation_id,
    }
    for name in (name for name, value in wanted.items() if value):
        fields.refuse(name, "needs what is kept, and with `store` false nothing is", "unsupported_value")


def _previous(fields: Fields) -> str | None:
    sent = fields.text("previous_response_id", MAX_ID)
    if sent is None:
        return None
    try:
        return message_id_of(sent)
    except NotFound:
        raise PreviousNotFound from None


def _conversation(fields: Fields) -> str | None:
    if isinstance(fields.raw("conversation"), dict):
        sent = (fields.object("conversation") or fields).text("id", MAX_ID)
    else:
        sent = fields.text("conversation", MAX_ID)
    return None if sent is None else conversation_id_of(sent)


def read_metadata(fields: Fields) -> dict[str, str] | None:
    return fields.pairs("metadata", MAX_PAIRS, MAX_KEY, MAX_VALUE)
