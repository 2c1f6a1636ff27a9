"""What an operator sees besides the log: metrics and traces. It stands below all that is observed."""
