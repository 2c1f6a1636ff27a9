"""How well passages are found, on judged sets: `make eval`."""
