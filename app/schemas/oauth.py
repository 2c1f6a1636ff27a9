from typing import Literal

from pydantic import BaseModel


class OAuthError(BaseModel):
    """RFC 6749, 5.2."""

    error: Literal["invalid_request", "invalid_grant", "unsupported_grant_type"]
    error_description: str
