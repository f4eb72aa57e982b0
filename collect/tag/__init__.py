"""The domain of a row, in the paper's categories: by `rules` (what the row brings, key words), or by `model`."""
