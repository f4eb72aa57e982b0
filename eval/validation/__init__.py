"""Judges against people: ratings read, verdicts asked for, agreement measured."""
