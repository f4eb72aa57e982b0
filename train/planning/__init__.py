"""What a training would take: the shape of a model, how it is held, and the arithmetic."""
