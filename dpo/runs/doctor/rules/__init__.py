"""One module per regime."""
