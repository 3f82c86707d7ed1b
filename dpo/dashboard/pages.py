"""The table of pages: a line here, a module with `page` and `register`, and rights in `web.rights` make a page."""

from __future__ import annotations

from dpo.dashboard import compare, data, evaluate, lens, manual, runs_page, training
from dpo.dashboard.runs_page import sweep_page
from dpo.dashboard.shell import Page
from dpo.dashboard.training import run

_COMPARE_KEYS = (
    ("Ctrl Enter", "generate"),
    ("Esc", "stop, close"),
    ("1 – 4", "focus an answer"),
    ("d", "word diff on or off"),
    ("b", "blind on or off"),
    ("v", "vote, then ← → and Enter"),
    ("n", "next prompt to vote on"),
    ("u", "take the last vote back"),
)
_LENS_KEYS = (("← → Enter", "Lens: another token, keep it"),)
_EVALUATE_KEYS = (("j k Enter", "Evaluate: another prompt, open it"),)

PAGES = (
    Page("/", "Compare", "compare", "c", compare.page, compare.register, keys=_COMPARE_KEYS, docs="generation"),
    Page("/training", "Training", "training", "t", training.page, training.register, charts=True, docs="curves"),
    Page("/lens", "Lens", "lens", "l", lens.page, lens.register, charts=True, grids=True, keys=_LENS_KEYS, docs="lens"),
    Page(
        "/evaluate",
        "Evaluate",
        "scales",
        "e",
        evaluate.page,
        evaluate.register,
        charts=True,
        keys=_EVALUATE_KEYS,
        docs="evaluation",
    ),
    Page("/data", "Data", "data", "d", data.page, data.register, charts=True, grids=True, docs="data"),
    Page("/runs", "Runs", "runs", "r", runs_page.page, runs_page.register, charts=True, grids=True, docs="sweeps"),
    Page("/run", "Run", "file", "", run.page, run.register, charts=True, docs="curves", within="runs"),
    # Its callbacks come with those of the Runs page, whose table it shares.
    Page("/sweep", "Sweep", "runs", "", sweep_page.page, lambda *_: None, charts=True, docs="sweeps", within="runs"),
    Page("/docs", "Docs", "book", "m", manual.page, manual.register, within="docs"),
)
