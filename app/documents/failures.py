"""Why a document could not be taken in. The code is stored; the sentence is for whoever uploaded it."""

from enum import StrEnum


class FailureCode(StrEnum):
    ENCRYPTED = "encrypted"
    NO_TEXT = "no_text"
    UNSUPPORTED_TYPE = "unsupported_type"
    TYPE_MISMATCH = "type_mismatch"
    TOO_LARGE = "too_large"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_COMPLEX = "too_complex"
    EMPTY = "empty"
    INTERRUPTED = "interrupted"
    EMBEDDER_UNAVAILABLE = "embedder_unavailable"
    QUOTA = "quota"
    BUDGET = "budget"
    NO_PRICE = "no_price"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    FailureCode.ENCRYPTED: "The file is protected by a password. Upload it without one.",
    FailureCode.NO_TEXT: "The file has pages, but no text on them: it is a scan or pictures. Upload it with its text.",
    FailureCode.UNSUPPORTED_TYPE: "Files of this type are not read: txt, md, html, csv, pdf, docx, pptx and xlsx are.",
    FailureCode.TYPE_MISMATCH: "The file is damaged, or is not of the type that its name says.",
    FailureCode.TOO_LARGE: "The file, what it holds unpacked, or its text is larger than is allowed.",
    FailureCode.TOO_MANY_PAGES: "The file has more pages than are allowed. Upload it in parts.",
    FailureCode.TOO_COMPLEX: "Reading the file takes more memory or time than is allowed. Upload it in parts.",
    FailureCode.EMPTY: "There is nothing in the file.",
    FailureCode.INTERRUPTED: "Reading the file was interrupted. It is not the file's fault: upload it again.",
    FailureCode.EMBEDDER_UNAVAILABLE: "The embedding model could not be asked. Upload the file again later.",
    FailureCode.QUOTA: "The tenant's quota of documents is used up.",
    FailureCode.BUDGET: "The budget of the tenant, or of who uploaded it, does not cover embedding it.",
    FailureCode.NO_PRICE: "The embedding model has no price, and without one no budget can cover it.",
}


class ExtractionFailed(Exception):
    """A file gave no text. `detail` is what a person is told; `reason`, for the log, quotes nothing of the file."""

    def __init__(self, code: FailureCode, reason: str = "") -> None:
        self.code = code
        self.detail = code.sentence
        self.reason = reason
        super().__init__(f"{code}: {reason}" if reason else code)
