"""What a request must keep to before anybody looks at what it asks for."""

from dataclasses import dataclass, field
from email.message import EmailMessage

from starlette.types import Scope

from app.api.http.paths import is_v1, own_path
from app.api.http.trusted_hosts import TrustedHosts
from app.core.errors import AppError, InvalidHost, UnsupportedMediaType, UntrustedHost

MAX_HEADER_BYTES = 65_536
MAX_LENGTH_DIGITS = 18
# For all but texts: parsing what nobody sends costs the loop time that everybody waits for.
MAX_SMALL_BODY_BYTES = 16_384
WITH_TEXTS = ("/messages", "/conversations", "/documents")
WITH_FILES, FORM = "/documents", b"multipart/form-data"
# Of a form, beside its file.
FORM_BYTES = 65_536
# Asked by probes, which know an address and not a name; what they answer does not depend on it.
ANY_HOST = frozenset({"/health", "/health/ready"})
PLAIN_CODINGS = (b"", b"identity")
# JSON's first bytes tell which of these it is in.
CHARSETS = ("utf-8", "utf8", "us-ascii", "utf-16", "utf-32", "utf-16le", "utf-16be", "utf-32le", "utf-32be")
_SINGLE = frozenset(
    {b"traceparent", b"tracestate", b"x-request-id", b"content-length", b"content-encoding", b"content-type"}
)


@dataclass(slots=True)
class RequestHead:
    """The headers that are looked at before a route is found; `size` is that of all."""

    size: int = 0
    hosts: list[bytes] = field(default_factory=list)
    values: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def declared(self) -> int:
        """Of the body, in bytes; 0: it did not say."""
        length = self.values.get(b"content-length", b"")
        return int(length[:MAX_LENGTH_DIGITS]) if length.isdigit() else 0

    @classmethod
    def of(cls, scope: Scope) -> "RequestHead":
        head = cls()
        for name, value in scope["headers"]:
            head.size += len(name) + len(value)
            if name in _SINGLE:
                head.values[name] = value
            elif name == b"host":
                head.hosts.append(value)
        return head


class RequestBounds:
    """`max_body_bytes`: of bodies that hold a text; `max_file_bytes`: of a file in a form; `max_v1_bytes`: below `/v1`.

    `trusted_hosts`: None lets every name in.
    """

    def __init__(
        self,
        max_body_bytes: int,
        trusted_hosts: TrustedHosts | None = None,
        max_file_bytes: int = 0,
        max_v1_bytes: int = 0,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_v1_bytes = max_v1_bytes or max_body_bytes
        self._max_small_body_bytes = min(max_body_bytes, MAX_SMALL_BODY_BYTES)
        self._max_form_bytes = max(max_body_bytes, max_file_bytes + FORM_BYTES)
        self._trusted_hosts = trusted_hosts

    def body_bytes(self, scope: Scope) -> int:
        """The largest body that the path takes."""
        path = own_path(scope)
        if is_v1(path):
            return self._max_v1_bytes
        if path == WITH_FILES and any(
            name == b"content-type" and value.lower().startswith(FORM) for name, value in scope["headers"]
        ):
            return self._max_form_bytes
        return self._max_body_bytes if path.startswith(WITH_TEXTS) else self._max_small_body_bytes

    def refusal(self, scope: Scope, head: RequestHead) -> int | AppError:
        """The status or error to refuse the request with; 0 lets it in.

        Under `refusal` in its state stands the status of what the server could not read.
        """
        return scope["state"].get("refusal", 0) or self._host_refusal(scope, head) or self._body_refusal(scope, head)

    def _host_refusal(self, scope: Scope, head: RequestHead) -> int | AppError:
        if head.size > MAX_HEADER_BYTES:
            return 431
        if len(head.hosts) != 1 and (head.hosts or scope["http_version"] != "1.0"):  # of two, a proxy may see the other
            return InvalidHost()
        if self._trusted_hosts and scope["path"] not in ANY_HOST and not self._trusted_hosts.allow(head.hosts):
            return UntrustedHost()
        return 0

    def _body_refusal(self, scope: Scope, head: RequestHead) -> int | AppError:
        values = head.values
        if head.declared > self.body_bytes(scope):
            return 413
        if values.get(b"content-encoding", b"").lower() not in PLAIN_CODINGS:
            return UnsupportedMediaType()
        media_type = values.get(b"content-type", b"")
        if b"charset" in media_type.lower() and _charset(media_type) not in CHARSETS:
            return UnsupportedMediaType()
        return 0


def _charset(media_type: bytes) -> str:
    parsed = EmailMessage()
    parsed["Content-Type"] = media_type.decode("latin-1")
    return parsed.get_content_charset("utf-8")
