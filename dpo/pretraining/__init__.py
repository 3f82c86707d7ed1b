"""A language model from random weights: text in, a base policy out (`dpo pretrain`)."""
