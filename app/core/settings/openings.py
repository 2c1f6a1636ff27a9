"""What an installation leaves open to everybody by its settings."""

from app.core.config import Settings


def openings(settings: Settings) -> list[str]:
    """A sentence for each, with the setting that closes it. None in development, where all of them are meant."""
    if settings.environment == "development":
        return []
    found = {
        "Everybody may create a tenant: TENANT_CREATION=open": settings.tenant_creation == "open",
        "Whoever knows a new tenant's id may register in it: DEFAULT_REGISTRATION=open": (
            settings.default_registration == "open"
        ),
        "Prompts are answered by the mock: LLM_PROVIDER=mock": (
            "mock" in {upstream.provider for entry in settings.catalogue().values() for upstream in entry.where()}
        ),
        "The description of the interface is public: DOCS_ENABLED=true": settings.docs_enabled,
        "Requests may name any host: TRUSTED_HOSTS is empty": not settings.trusted_hosts,
        "Requests are not counted: RATE_LIMIT_ENABLED=false": not settings.rate_limit_enabled,
    }
    return [sentence for sentence, is_open in found.items() if is_open]
