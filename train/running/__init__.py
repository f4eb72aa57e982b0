"""Training itself, what it keeps in its folder, and what is done when it ends."""
