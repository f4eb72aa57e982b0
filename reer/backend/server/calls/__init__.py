"""How requests get to a server and back: which server, how many at once, how long, how often, and when no more."""
