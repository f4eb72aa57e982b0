"""What the stages exchange, read and written: pairs, trajectories, results, and what outputs say about themselves."""
