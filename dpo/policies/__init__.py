"""A policy is a model with its tokenizer and its family (encoder-decoder or decoder-only)."""
