"""A model's tokenizer and chat template, as layout and engines use them."""
