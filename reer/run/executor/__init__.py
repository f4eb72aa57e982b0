"""Who works on the examples: this process (`examples`), or actors on a Ray cluster (`cluster`, `actor`), and how both
stop (`stopping`). Knows nothing of models."""
