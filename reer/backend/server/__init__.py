"""Servers: any that speaks the OpenAI chat protocol writes (`chat`), vLLM's and SGLang's also score (`scorer`)."""
