"""From verdicts to scores with their uncertainty, and the tables that show them."""
