"""Preference training and supervised fine-tuning."""
