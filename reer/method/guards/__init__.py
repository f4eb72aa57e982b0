"""What may not stand in a thinking: copies of the answer (`leak`), what trajectories are dropped for (`filters`)."""
