"""Text from policies: the decode loop, and the worker that serves several viewers."""
