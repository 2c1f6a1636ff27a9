"""What every problem must be."""

import httpx

MARKER = "mark-7f3a9c"
"""Put into hostile input; it must never come back."""


def assert_problem(answer: httpx.Response, *statuses: int) -> dict[str, object]:
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    body: dict[str, object] = answer.json()
    assert body.keys() >= {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert MARKER not in answer.text
    assert (answer.headers.get("www-authenticate") == "Bearer") == (answer.status_code == 401)
    return body


def without_request_id(answer: httpx.Response) -> bytes:
    """The answer's bytes, to compare with another's."""
    return answer.content.replace(answer.headers["x-request-id"].encode(), b"")


def assert_kind(answer: httpx.Response, status: int, kind: str) -> dict[str, object]:
    """As `assert_problem`, of this kind."""
    problem = assert_problem(answer, status)
    assert problem["type"] == f"urn:llm-saas:problem:{kind}"
    return problem
