"""What seals the secrets that tenants entrust to the service."""

from pathlib import Path
from typing import Self

from pydantic import SecretStr, model_validator

from app.core.credentials.envelope import MasterKeys
from app.core.settings.base import CommaSeparated, SettingsGroup
from app.core.settings.weak import MIN_SECRET_KEY_BYTES, refuse_weak

IN_A_FILE = "file:"


class MasterKeySettings(SettingsGroup):
    master_key: SecretStr = SecretStr("")
    previous_master_keys: CommaSeparated[SecretStr] = []

    @model_validator(mode="after")
    def _master_keys_are_usable(self) -> Self:
        if self.previous_master_keys and not self.master_key.get_secret_value():
            raise ValueError("PREVIOUS_MASTER_KEYS needs a MASTER_KEY: the one that wraps from now on")
        self.master_keys()
        return self

    def master_keys(self) -> MasterKeys | None:
        """`MASTER_KEY` and those before it; None: this service keeps no secrets of tenants."""
        if not self.master_key.get_secret_value():
            return None
        given = [("MASTER_KEY", self.master_key)]
        given += [("PREVIOUS_MASTER_KEYS", previous) for previous in self.previous_master_keys]
        return MasterKeys([self._read(name, value) for name, value in given])

    def _read(self, name: str, value: SecretStr) -> str:
        """The key, or what the file holds that the value names."""
        text = value.get_secret_value()
        if text.startswith(IN_A_FILE):
            try:
                text = Path(text.removeprefix(IN_A_FILE)).read_text().strip()
            except (OSError, ValueError):
                raise ValueError(f"{name} names a file that cannot be read") from None
        if len(text.encode()) < MIN_SECRET_KEY_BYTES:
            raise ValueError(f"{name} must be at least {MIN_SECRET_KEY_BYTES} bytes")
        if self.in_production:
            refuse_weak(name, SecretStr(text))
        return text
