"""What a run leaves on disk: the journal of paid replies, verdicts, tables, and the run folder itself."""
