"""What a tenant may have answered from: documents, which model embeds them, and how much of them a tenant may keep."""

from typing import Annotated, Literal, Self, cast, get_args

from pydantic import Field, field_validator, model_validator

from app.core.settings.base import CommaSeparated
from app.core.settings.llm import LLMSettings

EmbeddingProvider = Literal["local", "openai", "ollama"]
# Halfvectors of more have no index in pgvector.
MAX_DIMENSIONS = 4000
DEFAULT_MODELS: dict[EmbeddingProvider, str] = {
    "local": "all-MiniLM-L6-v2-int8",
    "openai": "text-embedding-3-small",
    "ollama": "nomic-embed-text",
}
DIMENSIONS = {
    "all-MiniLM-L6-v2-int8": 384,
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "nomic-embed-text": 768,
    "mxbai-embed-large": 1024,
    "bge-m3": 1024,
}


class DocumentSettings(LLMSettings):
    documents_enabled: bool = True
    embedding_provider: EmbeddingProvider = "local"
    embedding_model: str = ""
    embedding_dimensions: Annotated[int, Field(ge=0, le=MAX_DIMENSIONS)] = 0
    embedding_previous: CommaSeparated[str] = []
    document_max_bytes: Annotated[int, Field(ge=1024, le=50 * 1024 * 1024)] = 20 * 1024 * 1024
    documents_per_tenant: Annotated[int, Field(ge=1)] = 10_000
    document_bytes_per_tenant: Annotated[int, Field(ge=1024)] = 2 * 1024**3
    document_chunks_per_tenant: Annotated[int, Field(ge=1)] = 100_000
    ingestion_seconds_per_tenant: Annotated[int, Field(ge=1)] = 100_000
    document_context_tokens: Annotated[int, Field(ge=512, le=1_000_000)] = 2048
    document_score_floor: Annotated[float, Field(ge=0, le=1.9)] = 0.25

    @field_validator("embedding_previous")
    @classmethod
    def _names_models(cls, value: list[str]) -> list[str]:
        for written in value:
            provider, _, rest = written.partition(":")
            model, _, dimensions = rest.rpartition(":")
            if provider not in get_args(EmbeddingProvider) or not model or not dimensions.isdecimal():
                raise ValueError("use provider:model:dimensions,...")
            if not 0 < int(dimensions) <= MAX_DIMENSIONS:
                raise ValueError(f"a model has 1 to {MAX_DIMENSIONS} dimensions")
        return value

    @model_validator(mode="after")
    def _can_embed(self) -> Self:
        if not self.documents_enabled:
            return self
        for provider, model, dimensions in self.embedding_models():
            if provider == "openai" and not self.openai_api_key.get_secret_value():
                raise ValueError("EMBEDDING_PROVIDER=openai needs OPENAI_API_KEY")
            if provider == "local" and (model, dimensions) != ("all-MiniLM-L6-v2-int8", 384):
                raise ValueError("EMBEDDING_PROVIDER=local has one model: leave EMBEDDING_MODEL and _DIMENSIONS empty")
            if not dimensions:
                raise ValueError(f"EMBEDDING_DIMENSIONS must say how many numbers a vector of {model} has")
        return self

    def embedding_models(self) -> list[tuple[EmbeddingProvider, str, int]]:
        """Provider, model and dimensions: what embeds from now on first, then what stored vectors may still be of."""
        model = self.embedding_model or DEFAULT_MODELS[self.embedding_provider]
        dimensions = self.embedding_dimensions or DIMENSIONS.get(model.partition(":")[0], 0)
        models = [(self.embedding_provider, model, dimensions)]
        for written in self.embedding_previous:
            provider, _, rest = written.partition(":")
            name, _, size = rest.rpartition(":")
            models.append((cast("EmbeddingProvider", provider), name, int(size)))
        return models
