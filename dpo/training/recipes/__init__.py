"""One file a kind of training, read from top to bottom: read, load, tokenise, train, save."""
