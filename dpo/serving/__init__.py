"""One thread that works for many viewers, in a fair order: the engine's jobs and the lens's."""
