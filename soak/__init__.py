"""The long run: what must never happen, tried a million times. It starts the service itself and stays on loopback."""
