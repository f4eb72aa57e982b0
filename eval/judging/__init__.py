"""From answers to verdicts: judges, what they cost, and the loop that asks for what is missing."""
