"""One self-contained HTML page of any run folders, drawn from the JSON contracts alone."""
