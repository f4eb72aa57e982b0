"""What is trained on: trajectories as token ids and masks, and how to look at them."""
