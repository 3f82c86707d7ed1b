"""The dashboard: Dash pages over the library (no torch at module level)."""
