"""What the service promises, shown on running processes: each proof prints what it did, and fails loudly."""
