"""An evaluation in the files of other tools (no torch here); `comparison.outside` reads verdicts from them."""
