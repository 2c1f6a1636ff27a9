from fastapi import APIRouter

from app.api.errors import documented
from app.api.routing import CallerFirst
from app.dependencies import DocumentSearch
from app.schemas.search import PassageRead, SearchRequest

router = APIRouter(tags=["documents"], route_class=CallerFirst)


@router.post(
    "/search",
    summary="Find passages of documents",
    responses=documented(400, 401, 402, 403, 409, 413, 422, 429, 501, 502, 503, 504),
)
async def search_documents(body: SearchRequest, service: DocumentSearch) -> list[PassageRead]:
    """By meaning and by words, best first; in the documents that the caller may see and readers find."""
    found = await service.search(body.query, body.narrowed(), body.top_k)
    return [PassageRead.model_validate(row) for row in found]
