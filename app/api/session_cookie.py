"""A refresh token that no script sees: in a cookie, for the pages of this service alone (docs/adr/0048)."""

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from app.core.errors import CookieRefused, InvalidRefreshToken
from app.schemas.user import TokenResponse
from app.services.session_service import Granted

# Browsers take a cookie of such a name only with `Secure`: a host beside this one, without TLS, plants none.
NAME = "__Secure-refresh"
# No form can send it, and a page of another origin asks first.
ASKED_BY, ASKED = "X-Session", "cookie"


class SessionCookie:
    """What a request said of a cookie: `wanted`, and the refresh tokens that came in it."""

    def __init__(self, request: Request) -> None:
        self.wanted = request.headers.get(ASKED_BY) == ASKED
        # Browsers say so to https and to localhost alone, where they keep the cookie too; no script can.
        if self.wanted and request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise CookieRefused
        self._path = f"{request.scope.get('root_path', '')}/refresh"
        self._lines = request.headers.getlist("Cookie")

    @property
    def refresh_token(self) -> str:
        """Of two, one was planted by a host beside this one: neither is taken."""
        pairs = (pair.strip().partition("=") for line in self._lines for pair in line.split(";"))
        found = {value for name, _, value in pairs if name == NAME}
        if len(found) != 1:
            raise InvalidRefreshToken
        return found.pop()

    def answer(self, granted: Granted) -> TokenResponse | Response:
        """To who asked for a cookie without the refresh token, which is in the cookie; to others as ever."""
        answer = TokenResponse.model_validate(granted)
        if not self.wanted:
            return answer
        response = JSONResponse(answer.model_dump(mode="json", exclude={"refresh_token"}))
        self._set(response, granted.refresh_token, granted.refresh_expires_in)
        return response

    def drop(self, response: Response) -> None:
        if self.wanted:
            self._set(response, "", 0)

    def _set(self, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            NAME, value, max_age=seconds, path=self._path, secure=True, httponly=True, samesite="strict"
        )


CookieOfSession = Annotated[SessionCookie, Depends(SessionCookie)]
