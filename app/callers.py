"""Who calls, from the credential of a request, and which container serves the caller."""

from fastapi import Request
from fastapi.security import OAuth2PasswordBearer

from app.container import Container
from app.core.credentials.opaque_tokens import API_KEY_PREFIX
from app.core.errors import AuthenticationError, TenantMoving
from app.core.principal import Origin, Principal
from app.shared import Shared


def container_of(request: Request) -> Container:
    """Of the caller's region; of the first for who is nobody's yet."""
    state = request.scope["state"]
    container: Container = state.get("container", request.app.state.container)
    return container


def shared_of(request: Request) -> Shared:
    return container_of(request).shared


def origin_of(request: Request) -> Origin:
    state = request.scope["state"]
    return Origin(state["client_address"], state["request_id"], state["own_request_id"])


def bearer_token(request: Request) -> str:
    """The credential of the Authorization header, "" if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


class BearerToken(OAuth2PasswordBearer):
    """The caller, from an access token or an API key; entering the tenant asks the database whether it still holds.

    The scheme is the dependency: each level that FastAPI solves costs a tenth of a small request.
    """

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        state = request.scope["state"]
        if "principal" in state:  # known since before the body was read
            known: Principal = state["principal"]
            return known
        token = bearer_token(request)
        if not token:
            raise AuthenticationError
        shared = shared_of(request)
        state["credential"] = token
        if token in shared.refused:
            raise AuthenticationError
        if token.startswith(API_KEY_PREFIX):
            principal = await shared.api_keys.principal_of(token)
        else:
            principal = shared.tokens.verify(token)
        state["principal"] = principal
        if (regions := request.app.state.regions) is not None:
            state["container"] = await regions.of_caller(principal.tenant_id)
        state["rate_limit"] = await shared.limits.count_principal(principal)
        return principal


async def count_refused(request: Request) -> None:
    """To be called when a request's credential was refused, here or by the database.

    Raises:
        RateLimited
        TenantMoving: it was not the credential: its tenant lives in another region by now.
    """
    state, container = request.scope["state"], container_of(request)
    shared = container.shared
    if "credential" not in state:
        return
    principal: Principal | None = state.get("principal")
    if principal is not None and await shared.places.has_moved(principal.tenant_id, container.database):
        raise TenantMoving
    if principal is not None:
        shared.refused.add(state["credential"])
    state["rate_limit"] = await shared.limits.count_refused(principal, state["client_address"])


def note_refused(request: Request) -> None:
    """To be called when an identified caller may not do what it asked for."""
    principal: Principal | None = request.scope["state"].get("principal")
    if principal is not None:
        what = f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"
        tally = shared_of(request).tally
        tally.count(principal.tenant_id, "request.refused", principal.user_id, origin_of(request), what)
