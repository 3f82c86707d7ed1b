"""How sure a comparison is: intervals, sizes, verdicts, strengths and the judging of judges (no torch here).

The unit is the prompt.  Samples and both orders of one prompt are averaged first, and N is the number of
prompts: rows of one prompt are no independent evidence.  Throughout, `h` is what a comparison gave on a
prompt: 1 a win, 0 a loss, a half a tie, or a mean of these.
"""
