"""A policy is a model with its tokenizer and its family (T5-like or GPT-2-like)."""
