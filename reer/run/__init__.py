"""What makes a stage a run: command line, run folder and manifest, ledger, executor, tracker, estimates."""
