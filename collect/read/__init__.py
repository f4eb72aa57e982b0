"""Sources: pairs from files and from datasets."""
