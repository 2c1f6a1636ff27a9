from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status
from fastapi.responses import JSONResponse, PlainTextResponse

from app.api.errors import documented
from app.api.pagination import link_next
from app.api.parameters import IdempotencyKey, Paging, PathId
from app.api.routing import CallerFirst
from app.api.uploads import read_document
from app.callers import shared_of
from app.dependencies import CurrentUser, Documents
from app.models import DocumentStatus
from app.schemas.document import Collection, CollectionRead, DocumentRead

router = APIRouter(tags=["documents"], route_class=CallerFirst)

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/DocumentCreate"}},
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/DocumentForm"}},
        },
    }
}
THERE = {"model": DocumentRead, "description": "The same content is there under this name"}


@router.post(
    "/documents",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DocumentRead,
    summary="Upload a document",
    responses={200: THERE, **documented(400, 401, 403, 404, 409, 413, 415, 422, 429, 501, 503)},
    openapi_extra=BODY,
)
async def add_document(
    caller: CurrentUser, service: Documents, request: Request, key: IdempotencyKey = None
) -> Response:
    """A text in JSON, or a file in a form. It is read and embedded in the background; `Location` shows how far it is.

    A document of the same name in the same collection is replaced once the new one is ready, from one moment to the
    next. The same content again is the document that is there.
    """
    uploads, settings = shared_of(request).uploads, request.app.state.settings
    new = await read_document(request, uploads, caller.tenant_id, settings.document_max_bytes)
    row, made = await service.add(new, key)
    document = DocumentRead.model_validate(row)
    return JSONResponse(
        document.model_dump(mode="json"),
        status.HTTP_202_ACCEPTED if made else status.HTTP_200_OK,
        headers={"Location": f"{request.scope.get('root_path', '')}/documents/{document.id}"},
    )


@router.get("/documents", summary="List documents (paginated)", responses=documented(401, 403, 422, 501, 503))
async def list_documents(
    service: Documents,
    page: Paging,
    request: Request,
    response: Response,
    collection: Annotated[Collection | None, Query()] = None,
    status: DocumentStatus | None = None,
) -> list[DocumentRead]:
    """Those that the caller may see, newest first."""
    found = await service.list(page, collection, status)
    link_next(request, response, found)
    return [DocumentRead.model_validate(row) for row in found.rows]


@router.get("/documents/{id}", summary="Get a document", responses=documented(401, 403, 404, 422, 501, 503))
async def get_document(document_id: PathId, service: Documents) -> DocumentRead:
    """How far it is; of one that failed, why."""
    return DocumentRead.model_validate(await service.get(document_id))


@router.get(
    "/documents/{id}/content",
    summary="Get a document's text",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 403, 404, 409, 422, 501, 503),
    },
)
async def get_document_content(document_id: PathId, service: Documents) -> PlainTextResponse:
    """What was read in it: offsets of passages and citations count its characters."""
    return PlainTextResponse(await service.content(document_id))


@router.delete(
    "/documents/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a document",
    responses=documented(401, 403, 404, 422, 501, 503),
)
async def delete_document(document_id: PathId, service: Documents) -> None:
    """For its uploader and for admins; found by nobody from then on."""
    await service.delete(document_id)


@router.get("/collections", summary="List collections", responses=documented(401, 403, 501, 503))
async def list_collections(service: Documents) -> list[CollectionRead]:
    """The collections of the documents that the caller may see."""
    return [CollectionRead.model_validate(row) for row in await service.collections()]
