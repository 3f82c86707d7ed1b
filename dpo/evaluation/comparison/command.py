"""An evaluation's settings as the command line that asks for the same (no torch here)."""

from __future__ import annotations

from dpo.evaluation.comparison.plan import EvaluationConfig

_NUMBERS = ("prompts", "samples", "max_new_tokens", "seed", "batch_size", "kl_prompts")
_TEXTS = ("against", "dataset", "split", "plain_text", "votes", "device", "output_dir")
_UNIT = EvaluationConfig(["any"])


def arguments_of(config: EvaluationConfig) -> list[str]:
    """What follows `dpo`: every setting that is not the usual one.  Columns are left out: a page asks for none.

    >>> arguments_of(EvaluationConfig(["demo/t5-dpo"], prompts=40, temperatures=(0.0, 0.7), judges=["longer"]))
    ['eval', 'demo/t5-dpo', '--prompts', '40', '--temperatures', '0,0.7', '--judge', 'longer']
    """
    made = ["eval", *config.policies]
    for name in (*_TEXTS[:3], *_NUMBERS):
        made += _flag(name, getattr(config, name), getattr(_UNIT, name))
    made += _flag("eval_fraction", config.eval_fraction, None)
    if tuple(config.temperatures) != tuple(_UNIT.temperatures):
        made += ["--temperatures", ",".join(f"{one:g}" for one in config.temperatures)]
    for judge in config.judges:
        made += ["--judge", judge]
    for text in config.slices:
        made += ["--slice", text]
    made += ["--until-clear"] if config.until_clear else []
    made += _flag("judge_tokens", config.judge_tokens, None)
    for name in _TEXTS[3:]:
        made += _flag(name, getattr(config, name), getattr(_UNIT, name))
    return made


def _flag(name: str, value: object, usual: object) -> list[str]:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return [] if value == usual else ["--" + name.replace("_", "-"), text]
