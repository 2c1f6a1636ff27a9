"""Commands of `python -m app.cli` that are longer than a few lines."""
