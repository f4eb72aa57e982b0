"""Scoring and generating with many sequences in one forward, no padding, and each common beginning once."""
