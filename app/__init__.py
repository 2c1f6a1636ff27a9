"""Multi-tenant LLM backend."""

__version__ = "0.1.0"
