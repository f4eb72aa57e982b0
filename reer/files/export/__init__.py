"""What leaves the project's own files: from the ledger to trajectories, from trajectories to a dataset for others."""

from reer.files.export.ledger import bring_up_to_date, export, frequencies_of, mark_pending, rows_of

__all__ = ["bring_up_to_date", "export", "frequencies_of", "mark_pending", "rows_of"]
