"""The study of docs/study.md: one command trains, evaluates and draws one of its tables.

    python -m scripts.study losses --work build/study

`plan.py` reads a table's file, `runs.py` trains what is missing, `spread.py` tells the spread over trainings from the
error of the prompts, `table.py` writes what was found.
"""
