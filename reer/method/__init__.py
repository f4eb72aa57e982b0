"""The method: search, prompts, proposals, objective, guards, cost. What the paper is about.

Start with `search`. Imports types, texts, config and layout alone: it knows no run folder, no file and no page.
"""
