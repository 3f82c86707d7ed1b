"""What tuning changed, measured: token-level rewards, held-out pairs, and people's votes."""
