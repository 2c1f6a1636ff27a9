"""Names of the cluster's roles; the migration makes them."""

RUNTIME_ROLE = "llm_saas_app"
"""Every tenant transaction takes it. It owns nothing and cannot log in."""

DEFINER_ROLE = "llm_saas_definer"
"""Owns the SECURITY DEFINER functions: login's look-up, and finding work without a caller."""
