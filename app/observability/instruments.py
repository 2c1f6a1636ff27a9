"""Everything that is counted: the one list of names, with what each label may say.

Dashboards and alert rules name these; a test holds both to what /metrics says.
"""

from app.observability.metrics import Counter, Gauge, Histogram

ANSWERS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CALLS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 240)
FIRST_TOKENS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
TRIPS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
DELAYS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

BUILD = Gauge("llm_saas_build_info", "1, for each version that runs", "version", merge="livemax")

# --- requests. route: the template, or "unmatched"; status: "0" where the client went away before there was one
REQUESTS = Counter("llm_saas_http_requests_total", "Requests that were answered", "method", "route", "status")
REQUEST_SECONDS = Histogram(
    "llm_saas_http_request_duration_seconds",
    "From a request's head to the end of its answer; a stream's end is its message's",
    "method",
    "route",
    buckets=ANSWERS,
)
RATE_LIMITED = Counter("llm_saas_rate_limited_total", "Requests that a rate limit refused", "scope")
RATE_LIMITS_SHARED = Gauge(
    "llm_saas_rate_limits_shared",
    "1 while requests are counted in Redis; 0: by each process for itself",
    merge="livemin",
)

# --- providers. outcome: ok, cancelled, or the code of the error; model: the public name of what was asked (with /2 for
# the second of several upstreams), or without a catalogue the model that is configured; never what a provider says
PROVIDER_CALLS = Counter(
    "llm_saas_provider_calls_total", "Calls of a provider, its retries included", "provider", "model", "outcome"
)
PROVIDER_SECONDS = Histogram(
    "llm_saas_provider_call_duration_seconds",
    "Until a provider's whole answer was here",
    "provider",
    "model",
    buckets=CALLS,
)
FIRST_TOKEN_SECONDS = Histogram(
    "llm_saas_provider_time_to_first_token_seconds",
    "Until the first piece of a streamed answer",
    "provider",
    "model",
    buckets=FIRST_TOKENS,
)
FAILOVERS = Counter("llm_saas_provider_failovers_total", "Calls that went on to the next provider", "provider", "model")
BREAKER_OPEN = Gauge(
    "llm_saas_breaker_open", "1 while a provider is left alone for all tenants", "provider", "model", merge="livemax"
)
BREAKER_TENANTS_OPEN = Gauge(
    "llm_saas_breaker_tenants_open", "Tenants for which a provider is left alone", "provider", "model", merge="livemax"
)
BREAKER_REFUSALS = Counter(
    "llm_saas_breaker_refusals_total", "Calls that were not made: the circuit was open", "provider", "model"
)

# --- messages. status: completed, failed, cancelled; error_code: "" if there is none; kind: input, cached, output;
# result: taken, begun
MESSAGES_ENDED = Counter("llm_saas_messages_ended_total", "Messages that ended", "status", "error_code")
MESSAGES_RUNNING = Gauge("llm_saas_messages_running", "Messages that are being answered")
TOKENS = Counter("llm_saas_tokens_total", "Tokens; input counts the cached ones too", "model", "kind")
COST = Counter("llm_saas_cost_usd_total", "What messages cost, by the prices of LLM_PRICES", "model")
LEASE_TAKEOVERS = Counter("llm_saas_lease_takeovers_total", "Messages that were ended for a process that was gone")
QUEUE_DEPTH = Gauge("llm_saas_queue_depth", "Background messages that wait for a worker", merge="livemax")
QUEUE_AGE = Gauge("llm_saas_queue_oldest_age_seconds", "How long the oldest of them has waited", merge="livemax")
BACKGROUND_MESSAGES = Counter(
    "llm_saas_background_messages_total", "Queued messages that workers took, and those that they began", "result"
)
TENANT_COST = Gauge(
    "llm_saas_tenant_cost_usd", "Today's, of the METRICS_TOP_TENANTS dearest tenants", "tenant_id", merge="livemax"
)

# --- documents. status: queued, processing; ready, failed; error_code: "" if there is none; kind: passage, query
DOCUMENTS_UNFINISHED = Gauge(
    "llm_saas_documents_unfinished", "Documents that are not yet taken in", "status", merge="livemax"
)
DOCUMENTS_AGE = Gauge(
    "llm_saas_documents_oldest_age_seconds",
    "How long nothing has happened to the one of them of which that is longest",
    merge="livemax",
)
DOCUMENTS_ENDED = Counter("llm_saas_documents_ended_total", "Documents that were taken in", "status", "error_code")
DOCUMENTS_PUT_OFF = Counter("llm_saas_documents_put_off_total", "Runs that failed and will be repeated", "reason")
EXTRACTION_SECONDS = Histogram(
    "llm_saas_extraction_duration_seconds", "Until a file's text was read, by a process of its own", buckets=CALLS
)
EMBEDDING_SECONDS = Histogram(
    "llm_saas_embedding_duration_seconds", "A call of the embedder, of up to 32 texts", "model", "kind", buckets=ANSWERS
)
EMBEDDED_TEXTS = Counter("llm_saas_embedded_texts_total", "Passages and questions that were embedded", "model", "kind")
EMBEDDED_TOKENS = Counter("llm_saas_embedded_tokens_total", "Their tokens", "model", "kind")

# --- the cache of answers. result: hit, miss, bypass; operation: get, set, erase, lock; purpose: cache, limits
CACHE_REQUESTS = Counter("llm_saas_cache_requests_total", "Messages, by what the cache had for them", "result")
CACHE_ERRORS = Counter("llm_saas_cache_errors_total", "What Redis did not do for the cache", "operation")
CACHE_AVAILABLE = Gauge("llm_saas_cache_available", "1 while the cache answers", merge="livemin")
REDIS_SECONDS = Histogram("llm_saas_redis_trip_duration_seconds", "A trip to Redis", "purpose", buckets=TRIPS)

# --- the database. database: primary, replica, or the name of a region; served_by: replica, primary
POOL_WAIT_SECONDS = Histogram(
    "llm_saas_db_pool_wait_seconds", "Until a transaction had its connection", "database", buckets=TRIPS
)
TRANSACTION_SECONDS = Histogram(
    "llm_saas_db_transaction_duration_seconds", "From its connection to its end", "database", buckets=TRIPS
)
CONNECTIONS_IN_USE = Gauge("llm_saas_db_connections_in_use", "Connections that transactions hold", "database")
CONNECTIONS_MAX = Gauge("llm_saas_db_connections_max", "Connections that transactions may hold", "database")
GATE_REFUSALS = Counter("llm_saas_db_gate_refusals_total", "Transactions that got no connection in time", "database")
DATABASE_UNAVAILABLE = Counter(
    "llm_saas_db_unavailable_total", "Transactions that the database did not begin or end", "database"
)
REPLICA_LAG = Gauge("llm_saas_replica_lag_seconds", "How far the replica is behind", merge="livemax")
REPLICA_AVAILABLE = Gauge("llm_saas_replica_available", "1 while reads go to the replica", merge="livemin")
REPLICA_READS = Counter("llm_saas_replica_reads_total", "Reads that may go to the replica", "served_by")

# --- the process. result: delivered, failed, gave_up
LOOP_DEATHS = Counter("llm_saas_loop_deaths_total", "Background loops that died and were started again", "loop")
LOOP_FAILING = Gauge("llm_saas_loop_failing", "1 while a loop dies again and again", "loop", merge="livemax")
LOOP_LAG_SECONDS = Histogram(
    "llm_saas_event_loop_lag_seconds", "How late the event loop was for a timer", buckets=DELAYS
)
WEBHOOK_DELIVERIES = Counter("llm_saas_webhook_deliveries_total", "Attempts to call a webhook", "result")
WEBHOOK_SECONDS = Histogram(
    "llm_saas_webhook_delivery_duration_seconds", "Until a receiver had answered", buckets=CALLS
)
WEBHOOKS_DUE = Gauge("llm_saas_webhooks_due", "Calls of webhooks that are due", merge="livemax")
