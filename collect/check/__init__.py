"""Which rows are fit to be searched."""
