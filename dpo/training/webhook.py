"""Tell an address of one's own how a training ended: `DPO_WEBHOOK=https://... dpo train ...`.

The address often holds a key (of a chat, say). So it comes from the environment, which the queue's
trainings and resumes inherit, and not from the settings: those are part of the record and are published with it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dpo.errors import ConfigError
from dpo.runs import RunRecord, open_run
from dpo.runs.newest import newest

WEBHOOK = "DPO_WEBHOOK"
_SECONDS = 10.0


def address() -> str | None:
    """The address to tell, None for none.

    Raises:
        ConfigError: it is not one of http or https.
    """
    url = os.environ.get(WEBHOOK, "").strip()
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{WEBHOOK} is not an address: it must begin with https:// (or http://), or be unset")
    return url or None


def tell_end(url: str, record: RunRecord) -> None:
    """POST how a run ended, as JSON; where nobody answers, one line on standard error says so.

    `text` is a sentence (what Slack and Mattermost show, as Discord does `content`); `run`, `directory`, `state`,
    `reason`, `step`, `loss`, `margin` and `accuracy` are for programs.
    """
    import httpx2 as httpx

    try:
        answer = httpx.post(url, json=message(record), timeout=_SECONDS)
        problem = "" if answer.is_success else f"it answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = str(error) or type(error).__name__
    if problem:  # without the address, which may hold a key
        print(f"dpo: {WEBHOOK} was not told that the run ended: {problem}", file=sys.stderr)


def message(record: RunRecord) -> dict[str, Any]:
    """What is told."""
    run = open_run(record.path)
    state, reason, reached = run.state, record.info.get("reason"), newest(run.metrics())
    step = run.progress.get("step")
    text = f"{run.name}: {state} at step {step}" + (f", {reason}" if reason else "")
    return {
        "text": text, "content": text, "run": run.name, "directory": str(run.path), "state": state, "reason": reason,
        "step": step, "loss": reached.loss, "margin": reached.margin, "accuracy": reached.accuracy,
    }  # fmt: skip
