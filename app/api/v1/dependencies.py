"""What the routes of other protocols need beside what ours do."""

from typing import Annotated

from fastapi import Depends, Request

from app.callers import shared_of
from app.core.principal import Scope
from app.dependencies import CurrentUser, get_messages, messages_db, scoped_db, tokens_of
from app.services.embedding_service import EmbeddingService
from app.services.model_service import ModelService
from app.services.stored_chats import StoredChats


async def get_chat_completions(request: Request, principal: CurrentUser) -> StoredChats:
    return StoredChats(messages_db(request, principal), await get_messages(request, principal))


async def get_embeddings(request: Request, principal: CurrentUser) -> EmbeddingService:
    shared = shared_of(request)
    db = scoped_db(request, principal, "messages:write")
    return EmbeddingService(db, shared.embedders, shared.meter, tokens_of(request, principal))


async def get_v1_models(request: Request, principal: CurrentUser) -> ModelService:
    """A client that asks for its models before anything else has a key to write, and often no other scope."""
    shared = shared_of(request)
    scope: Scope = "messages:write" if "messages:write" in principal.scopes else "messages:read"
    return ModelService(scoped_db(request, principal, scope), shared.llm, shared.model_policies)


async def get_embedders(request: Request) -> list[str]:
    """The names of the models that embed."""
    embedders = shared_of(request).embedders
    return [] if embedders is None else [one.name for one in (embedders.current, *embedders.previous)]


ChatCompletions = Annotated[StoredChats, Depends(get_chat_completions)]
Embedders = Annotated[list[str], Depends(get_embedders)]
Models = Annotated[ModelService, Depends(get_v1_models)]
Embeddings = Annotated[EmbeddingService, Depends(get_embeddings)]
