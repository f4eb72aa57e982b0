"""From a benchmark's prompts to answers, and what these say without a judge."""
