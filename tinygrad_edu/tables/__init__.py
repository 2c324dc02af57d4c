"""Learning from a table: a CSV file in, a model in a file and a report out; and predictions."""
