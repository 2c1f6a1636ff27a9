"""A document as it comes: a text in JSON, or a file as a part of a form."""

import json
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from app.core.errors import UnsupportedMediaType
from app.documents.uploads import Uploads
from app.schemas.document import MAX_NAME, DocumentCreate, DocumentFields
from app.services.document_service import NewDocument

# Beside the file: its fields, the boundaries and the headers of the parts.
FIELD_BYTES, FIELDS = 16_384, 8
FORM_FIELDS = ("name", "collection", "visibility", "attributes")
MARKDOWN = (".md", ".markdown")
B = TypeVar("B", bound=BaseModel)


class _InMemory(MultiPartParser):
    """A file that is to be stored as a whole is not written to a disk before."""

    spool_max_size = 2**40

    def close(self) -> None:
        """Also of the file whose part did not come to its end."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_document(request: Request, uploads: Uploads, tenant_id: str, max_bytes: int) -> NewDocument:
    """Raises `UnsupportedMediaType`, `TooManyUploads`, `Overloaded`; and of an invalid body what FastAPI does."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        body = _valid(DocumentCreate, _parsed(await request.body()))
        kind = "text/markdown" if body.name.lower().endswith(MARKDOWN) else "text/plain"
        return _document(body, body.text.encode(), kind)
    if media_type != "multipart/form-data":
        raise UnsupportedMediaType("A document is JSON in UTF-8, or a form: multipart/form-data with the part `file`.")
    with uploads.place(tenant_id):
        return await _in_form(request, max_bytes)


async def _in_form(request: Request, max_bytes: int) -> NewDocument:
    parser = _InMemory(request.headers, request.stream(), max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    try:
        form = await parser.parse()
        return await _document_of(dict(form.multi_items()), max_bytes)
    except MultiPartException:
        raise HTTPException(400) from None
    finally:
        parser.close()


async def _document_of(fields: dict[str, Any], max_bytes: int) -> NewDocument:
    file = fields.pop("file", None)
    if file is None:
        raise _refused(("body", "file"), "missing", "Field required")
    if isinstance(file, UploadFile):
        content = await file.read()
        media_type = (file.content_type or "").partition(";")[0].strip()
        fields["name"] = fields.get("name") or _base_name(file.filename or "")
    else:
        content, media_type = file.encode("utf-8", "replace"), "text/plain"
    if len(content) > max_bytes:
        raise HTTPException(413)
    fields["attributes"] = _parsed(fields["attributes"], "attributes") if fields.get("attributes") else {}
    return _document(_valid(DocumentFields, fields), content, media_type)


def _document(fields: DocumentFields, content: bytes, media_type: str) -> NewDocument:
    told = media_type if media_type.isascii() and media_type.isprintable() else ""
    return NewDocument(
        fields.name,
        content,
        told.lower()[:100] or "application/octet-stream",
        fields.collection,
        fields.visibility,
        fields.attributes,
    )


def _base_name(filename: str) -> str:
    """Without the folders that some browsers send along, and no longer than a name may be: its end tells the kind."""
    return filename.replace("\\", "/").rpartition("/")[2][-MAX_NAME:]


def _parsed(content: bytes | str, *place: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise _refused(("body", *(place or (error.pos,))), "json_invalid", "JSON decode error") from None
    except (ValueError, RecursionError):
        raise HTTPException(400) from None


def _valid(model: type[B], body: Any) -> B:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from None


def _refused(place: tuple[str | int, ...], kind: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": place, "type": kind, "msg": message}])
