"""Other people's clients, unedited, against the live service: what works is written to `docs/compat.md`."""
