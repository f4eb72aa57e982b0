"""Who works on the examples: this process (`examples`), or actors on a Ray cluster (`cluster`, `actor`), and how both
stop (`stopping`); `processes` of this machine do what Python alone has to do. Knows nothing of models."""
