"""OpenAI's embeddings, by the embedder that documents have."""

import asyncio
import base64
import struct
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api.v1.body import read_object
from app.api.v1.dependencies import Embeddings
from app.api.v1.described import EXAMPLES, answer, body, errors, listed
from app.api.v1.fields import Fields, log_unknown
from app.documents.shapes import Embedder, Vector

router = APIRouter(prefix="/v1", tags=["openai"])

MAX_TEXTS = 2048
# A tokenizer reads a megabyte for most of a second. What is longer than any text of so many tokens is not read, and
# what is left is read in a thread where it is much.
MAX_CHARACTERS_OF_TOKEN = 100
LITTLE_CHARACTERS = 8192
TEXT = {"type": "string"}
BODY = body(
    {
        "model": TEXT,
        "input": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": {"type": "integer"},
    },
    ["input", "model"],
    {"model": "all-MiniLM-L6-v2-int8", "input": ["What is async Python?"]},
)
VECTOR = {
    "type": "object",
    "required": ["object", "index", "embedding"],
    "properties": {
        "object": {"const": "embedding"},
        "index": {"type": "integer"},
        "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, TEXT]},
    },
}
EXAMPLES["create_embeddings"] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.06, -0.08]}],
    "model": "all-MiniLM-L6-v2-int8",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


@router.post(
    "/embeddings",
    summary="Embed texts",
    responses={200: answer(listed(VECTOR)), **errors(400, 403, 404, 409, 413, 415, 501, 502, 504)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=BODY,
)
async def create_embeddings(service: Embeddings, request: Request) -> JSONResponse:
    """Vectors of length 1. They count in the usage, and claim from budgets, as those of documents do."""
    asked = await read_object(request)
    asked.ignore("user")
    embedder = service.embedder(asked.model())
    texts = _texts(asked)
    if embedder.is_free:  # of other models the provider counts, and refuses
        await _require_fitting(asked, embedder, texts)
    encoding = asked.one_of("encoding_format", ("float", "base64"))
    if asked.integer("dimensions", 1, 2**31) not in (None, embedder.dimensions):
        asked.refuse("dimensions", f"the vectors of this model have {embedder.dimensions}", "unsupported_value")
    log_unknown("embeddings", asked)
    made = await service.embed(embedder, texts)
    data = [_shown(index, vector, encoding) for index, vector in enumerate(made.vectors)]
    usage = {"prompt_tokens": made.tokens, "total_tokens": made.tokens}
    return JSONResponse({"object": "list", "data": data, "model": made.model, "usage": usage})


def _texts(asked: Fields) -> list[str]:
    given = asked.raw("input")
    texts = [given] if isinstance(given, str) else asked.list("input", MAX_TEXTS)
    if any(isinstance(each, int | list) for each in texts):
        asked.refuse("input", "texts are taken here, and no tokens: whose they are nobody knows", "unsupported_value")
    for index, each in enumerate(texts):
        if not isinstance(each, str):
            asked.refuse(f"input[{index}]", "must be a string", "invalid_type")
        if not each:
            asked.refuse(f"input[{index}]", "is empty")
    return texts or asked.missing("input")


async def _require_fitting(asked: Fields, embedder: Embedder, texts: Sequence[str]) -> None:
    if sum(map(len, texts)) <= LITTLE_CHARACTERS:
        index = _too_long(embedder, texts)
    else:
        index = await asyncio.to_thread(_too_long, embedder, texts)
    if index is not None:
        detail = f"the model reads {embedder.max_tokens} tokens: what is longer would mean its beginning alone"
        asked.refuse(f"input[{index}]", detail, "context_length_exceeded")


def _too_long(embedder: Embedder, texts: Sequence[str]) -> int | None:
    """The place of the first that is longer than the model reads."""
    most = embedder.max_tokens
    for index, each in enumerate(texts):
        if len(each) > most * MAX_CHARACTERS_OF_TOKEN or len(embedder.token_spans(each)) > most:
            return index
    return None


def _shown(index: int, vector: Vector, encoding: str | None) -> dict[str, Any]:
    shown: Any = list(vector)
    if encoding == "base64":
        shown = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    return {"object": "embedding", "index": index, "embedding": shown}
