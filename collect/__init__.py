"""From texts and pairs to a set worth searching: the verbs of `reer-collect`, one module each."""
