"""What a final trajectory is worth beside its NLL: whether it explains the answer, or only says it beforehand.

`lexical` counts the answer's words in it, `facts` makes numbers of what a search recorded, `means` adds them up.
"""
