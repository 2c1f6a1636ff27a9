from fastapi import APIRouter, Request, Response, status

from app.api.errors import documented
from app.api.pagination import link_next
from app.api.parameters import IdempotencyKey, Paging, PathId
from app.api.routing import CallerFirst
from app.dependencies import Conversations
from app.messages.idempotency import IdempotentRequest
from app.schemas.conversation import ConversationCreate, ConversationRead, ConversationUpdate

router = APIRouter(prefix="/conversations", tags=["conversations"], route_class=CallerFirst)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a conversation",
    responses=documented(400, 401, 409, 413, 422, 503),
)
async def create_conversation(
    body: ConversationCreate, service: Conversations, key: IdempotencyKey = None
) -> ConversationRead:
    """A message with its id in `conversation_id` is sent with the turns before it."""
    request = IdempotentRequest.of(key, "POST /conversations", body.model_dump())
    return ConversationRead.model_validate(await service.create(body.title, body.system_prompt, request))


@router.get("", summary="List tenant conversations (paginated)", responses=documented(401, 422, 503))
async def list_conversations(
    service: Conversations, page: Paging, request: Request, response: Response
) -> list[ConversationRead]:
    """Newest first; `GET /messages?conversation_id=` lists the messages of one."""
    found = await service.list(page)
    link_next(request, response, found)
    return [ConversationRead.model_validate(row) for row in found.rows]


@router.get("/{id}", summary="Get a conversation", responses=documented(401, 404, 422, 503))
async def get_conversation(conversation_id: PathId, service: Conversations) -> ConversationRead:
    return ConversationRead.model_validate(await service.get(conversation_id))


@router.patch("/{id}", summary="Change a conversation", responses=documented(400, 401, 403, 404, 413, 422, 503))
async def change_conversation(
    conversation_id: PathId, body: ConversationUpdate, service: Conversations
) -> ConversationRead:
    """For its owner and admins."""
    changes = body.model_dump(exclude_unset=True)
    return ConversationRead.model_validate(await service.change(conversation_id, changes))


@router.delete(
    "/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a conversation",
    responses=documented(401, 403, 404, 409, 422, 503),
)
async def delete_conversation(conversation_id: PathId, service: Conversations) -> None:
    """With its messages. For its owner and admins; 409 while one of them is being answered."""
    await service.delete(conversation_id)
