"""Whether a provider takes a key: it is asked for its models, which costs nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from app.core.errors import InvalidBaseUrl, ProviderKeyRefused, ProviderNotReached
from app.llm.base import Credential
from app.webhooks.guard import ON_BEHALF_OF, GuardedBackend, Network
from app.webhooks.url import check_url, parse_url

TIMEOUT_SECONDS = 10.0
REFUSED = (401, 403)
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyedProvider:
    """How a provider is asked for its models: where, below which path, and with which headers beside the key's own."""

    url: str
    path: str
    key_header: str
    key_prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()


KEYED = {
    "openai": KeyedProvider("https://api.openai.com/v1", "/models", "Authorization", "Bearer "),
    "anthropic": KeyedProvider(
        "https://api.anthropic.com", "/v1/models", "x-api-key", headers=(("anthropic-version", "2023-06-01"),)
    ),
}
"""The providers at which a tenant may have a key of its own."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the service itself asks with a key; "": at the provider's own address."""

    provider: str
    base_url: str


class KeyCheck:
    """`accounts`: by the names under which tenants may bring keys of their own.

    What a tenant names is asked through the guard of webhooks, at saving as at each call.
    """

    def __init__(self, accounts: Mapping[str, Account], allowed_networks: tuple[Network, ...] = ()) -> None:
        self._accounts = {name: account for name, account in accounts.items() if account.provider in KEYED}
        self._allowed = allowed_networks
        self._backend = GuardedBackend(allowed_networks)

    def __contains__(self, name: str) -> bool:
        return name in self._accounts

    def base_url(self, url: str) -> str:
        """A tenant's address of a provider as it is kept; raises `InvalidBaseUrl`."""
        try:
            kept = check_url(url, self._allowed)
        except ValueError:
            raise InvalidBaseUrl from None
        if "?" in kept:
            raise InvalidBaseUrl
        return kept.rstrip("/")

    async def test(self, name: str, credential: Credential, tenant_id: str) -> None:
        """Ask the account's provider with the key.

        Raises:
            ProviderKeyRefused
            ProviderNotReached: nobody could say.
        """
        account = self._accounts[name]
        keyed = KEYED[account.provider]
        base = credential.base_url or account.base_url or keyed.url
        headers = {keyed.key_header: keyed.key_prefix + credential.api_key, **dict(keyed.headers)}
        ON_BEHALF_OF.set(tenant_id)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._status_of(
                    f"{base.rstrip('/')}{keyed.path}", headers, guarded=bool(credential.base_url)
                )
        except Exception as error:  # noqa: BLE001 - whatever a server of a tenant's choice makes of it
            logger.info("provider_key_not_tested", account=name, reason=type(error).__name__)
            raise ProviderNotReached from None
        if status in REFUSED:
            raise ProviderKeyRefused
        if not 200 <= status < 300:
            logger.info("provider_key_not_tested", account=name, reason=f"http_{status}")
            raise ProviderNotReached

    async def _status_of(self, url: str, headers: Mapping[str, str], *, guarded: bool) -> int:
        # Not at the top: for who sets a key.
        import aiohttp
        import httpcore2

        from app.webhooks.resolver import GuardedResolver

        if guarded:
            parse_url(url, self._allowed)
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(self._backend) if guarded else None,
            use_dns_cache=False,
            ssl=httpcore2.default_ssl_context(),
        )
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=not guarded, auto_decompress=False) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            return response.status

    def close(self) -> None:
        self._backend.close()
