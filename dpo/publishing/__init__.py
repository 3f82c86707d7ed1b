"""Bringing policies out of here and in: folding adapters, model cards, the Hugging Face hub."""
