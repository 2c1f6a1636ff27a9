"""Keys that are none: too short, or what stood in an example."""

from pydantic import SecretStr

MIN_SECRET_KEY_BYTES = 32
PLACEHOLDERS = ("change", "replace", "secret", "your-", "example", "placeholder", "<")


def refuse_weak(name: str, value: SecretStr) -> None:
    key = value.get_secret_value()
    if len(key.encode()) < MIN_SECRET_KEY_BYTES:
        raise ValueError(f"{name} must be at least {MIN_SECRET_KEY_BYTES} bytes in production")
    if any(word in key.lower() for word in PLACEHOLDERS) or len(set(key)) < 10:
        raise ValueError(f'{name} is a placeholder; make one: python -c "import secrets; print(secrets.token_hex(32))"')
