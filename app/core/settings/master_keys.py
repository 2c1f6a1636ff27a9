"""What seals the secrets that tenants entrust to the service, and their texts."""

import os
from pathlib import Path
from typing import Self

from pydantic import SecretStr, model_validator

from app.core.credentials.envelope import MasterKeys
from app.core.credentials.key_files import KeyFiles
from app.core.settings.base import CommaSeparated, SettingsGroup
from app.core.settings.weak import MIN_SECRET_KEY_BYTES, refuse_weak

IN_A_FILE = "file:"


class MasterKeySettings(SettingsGroup):
    master_key: SecretStr = SecretStr("")
    previous_master_keys: CommaSeparated[SecretStr] = []
    encrypt_text: bool = False
    text_keys_dir: str = ""

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

    @model_validator(mode="after")
    def _texts_can_be_sealed(self) -> Self:
        if self.encrypt_text and not self.master_key.get_secret_value():
            raise ValueError("ENCRYPT_TEXT needs a MASTER_KEY: it wraps the keys that lie in TEXT_KEYS_DIR")
        if self.encrypt_text and not self.text_keys_dir:
            raise ValueError("ENCRYPT_TEXT needs TEXT_KEYS_DIR: where the keys lie, outside of every backup")
        # Containers are given a directory whether or not it is used: without a MASTER_KEY nothing in it opens.
        if not self.text_keys_dir or not self.master_key.get_secret_value():
            return self
        if not Path(self.text_keys_dir).is_dir() or not os.access(self.text_keys_dir, os.R_OK | os.W_OK | os.X_OK):
            raise ValueError("TEXT_KEYS_DIR must be a directory that is there, and that the service may write to")
        return self

    def key_files(self) -> KeyFiles | None:
        """None: this service opens no texts, and seals none."""
        masters = self.master_keys()
        return KeyFiles(Path(self.text_keys_dir), masters) if masters and self.text_keys_dir else None

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
