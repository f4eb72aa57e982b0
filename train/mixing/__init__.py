"""Which rows a model is trained on: of trajectories and general data, by licence, content, length, ratio and seed."""
