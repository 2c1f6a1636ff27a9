from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status

from app.api.errors import documented
from app.api.pagination import link_next
from app.dependencies import Filter, Messages, Paging
from app.schemas.message import MessageCreate, MessageRead

router = APIRouter(tags=["messages"])

MessageId = Annotated[str, Path(alias="id", max_length=100)]


@router.post(
    "/messages",
    status_code=status.HTTP_201_CREATED,
    summary="Send prompt to LLM",
    responses=documented(400, 401, 413, 422, 502, 503, 504),
)
async def send_message(body: MessageCreate, service: Messages) -> MessageRead:
    """Answers once the message is `completed`.

    If the provider fails, the answer is a problem with a `message_id`: the message is kept as `failed`.
    """
    return MessageRead.model_validate(await service.create(body.content))


@router.get(
    "/messages",
    summary="List tenant messages (paginated)",
    responses=documented(401, 422, 503),
)
async def list_messages(
    service: Messages, page: Paging, narrowed: Filter, request: Request, response: Response
) -> list[MessageRead]:
    """The messages of the caller's tenant, newest first; the `Link` header points at the next page."""
    found = await service.list(page, narrowed)
    link_next(request, response, found)
    return [MessageRead.model_validate(row) for row in found.rows]


@router.get("/messages/{id}", summary="Get a message", responses=documented(401, 404, 422, 503))
async def get_message(message_id: MessageId, service: Messages) -> MessageRead:
    """Any message of the caller's tenant, also one that failed or still runs."""
    return MessageRead.model_validate(await service.get(message_id))


@router.delete(
    "/messages/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a message",
    responses=documented(401, 403, 404, 409, 422, 503),
)
async def delete_message(message_id: MessageId, service: Messages) -> None:
    """For its author and for admins; 409 while it is being answered."""
    await service.delete(message_id)
