"""What the routes of other protocols need beside what ours do."""

from typing import Annotated

from fastapi import Depends, Request

from app.callers import shared_of
from app.dependencies import CurrentUser, get_messages, messages_db, scoped_db
from app.services.embedding_service import EmbeddingService
from app.services.stored_chats import StoredChats


async def get_chat_completions(request: Request, principal: CurrentUser) -> StoredChats:
    return StoredChats(messages_db(request, principal), await get_messages(request, principal))


async def get_embeddings(request: Request, principal: CurrentUser) -> EmbeddingService:
    shared = shared_of(request)
    return EmbeddingService(scoped_db(request, principal, "messages:write"), shared.embedders, shared.meter)


ChatCompletions = Annotated[StoredChats, Depends(get_chat_completions)]
Embeddings = Annotated[EmbeddingService, Depends(get_embeddings)]
