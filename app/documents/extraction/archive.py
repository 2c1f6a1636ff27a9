"""Looks at an archive before anything in it is parsed: what it says of its size, and whether its XML is plain."""

import io
import zipfile

from app.documents.extraction.limits import MIB, Limits
from app.documents.failures import ExtractionFailed, FailureCode

# Real sheets of equal rows reach a hundred; small files say little.
MAX_RATIO, RATIO_FROM = 250, 10 * MIB
_ENCRYPTED = 0x1
_READ = 256 * 1024
# Where an entity is declared. Office writes neither, and in a text "<" is escaped.
_DECLARATIONS = tuple(
    mark.encode(encoding) for mark in ("<!DOCTYPE", "<!ENTITY") for encoding in ("utf-8", "utf-16-le", "utf-16-be")
)
_LONGEST = max(map(len, _DECLARATIONS))
_XML = (".xml", ".rels", ".vml")


def opened(content: bytes, limits: Limits) -> zipfile.ZipFile:
    """The archive, if what it says of itself is within the limits.

    Raises:
        ExtractionFailed: it is too large, has a password, or is damaged.
    """
    # Of 46 bytes each at least, so the directory is not read to find that there are too many.
    if content.count(b"PK\x01\x02") > limits.entries:
        raise ExtractionFailed(FailureCode.TOO_COMPLEX, "entries")
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise ExtractionFailed(FailureCode.ENCRYPTED, "archive")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked or (unpacked > RATIO_FROM and unpacked > MAX_RATIO * len(content)):
        raise ExtractionFailed(FailureCode.TOO_LARGE, "unpacked")
    return archive


def refuse_declarations(archive: zipfile.ZipFile) -> None:
    """No XML in it declares a document type or an entity.

    Raises:
        ExtractionFailed: some does.
    """
    for entry in archive.infolist():
        if not entry.filename.lower().endswith(_XML):
            continue
        end = b""
        with archive.open(entry) as part:
            while block := part.read(_READ):
                looked_at = end + block
                if any(mark in looked_at for mark in _DECLARATIONS):
                    raise ExtractionFailed(FailureCode.TOO_COMPLEX, "entities")
                end = looked_at[1 - _LONGEST :]
