"""Ratios, not absolute times: A and B run interleaved against one PostgreSQL."""
