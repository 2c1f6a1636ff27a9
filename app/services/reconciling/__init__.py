"""What providers bill against what the ledger says: by day and model, and by request where the bill has those."""
