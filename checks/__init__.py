"""Checks that are no tests: `make lint` runs them."""
