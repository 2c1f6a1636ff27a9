"""The headers that every answer carries, as raw pairs made once: appending them costs about a microsecond."""

from collections.abc import Iterable

RawHeaders = list[tuple[bytes, bytes]]

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # It is about <img> and <script> of other sites; a listed origin's fetch is CORS's to allow.
    (b"cross-origin-resource-policy", b"same-origin"),
]
# Without includeSubDomains: the other hosts of the domain are not ours to speak for.
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
# What an answer may say for itself.
_NO_STORE = (b"cache-control", b"no-store")
_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class ResponseHeaders:
    """`https_only`: tell browsers to come back over TLS alone, for a year."""

    def __init__(self, *, https_only: bool) -> None:
        self._always = [*_ALWAYS, _HTTPS_ONLY] if https_only else _ALWAYS

    def complete(self, headers: Iterable[tuple[bytes, bytes]], request_id: bytes) -> RawHeaders:
        """The answer's own headers and ours; its own `Cache-Control` and `Content-Security-Policy` stand."""
        complete = [*headers, (b"x-request-id", request_id), *self._always]
        own = {name for name, _ in headers}
        if b"cache-control" not in own:
            complete.append(_NO_STORE)
        if b"content-security-policy" not in own:
            complete.append(_NOTHING)
        return complete
