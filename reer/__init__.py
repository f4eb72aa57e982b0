"""REER: search for the thinking that makes a known good answer likely, train on it, and score the result."""

__version__ = "0.1.0"
