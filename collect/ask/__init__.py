"""Queries written backwards: `wording` reads the prompts, `asking` draws and checks, `weighing` compares by NLL,
`works` runs both over all passages with a ledger."""
