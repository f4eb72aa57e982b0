"""Rows on disk: between two passes (`spool`), under work with a ledger (`work`), and in the files that
the stage writes (`written`)."""
