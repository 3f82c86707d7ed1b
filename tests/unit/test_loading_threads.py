"""Policies load from several threads at once: the dashboard's engine and its lens do so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from dpo.policies.loading import load_policy


def test_threads_may_load_at_once(policy_dirs: dict[str, Path]) -> None:
    names = [str(policy_dirs[family]) for family in ("t5", "gpt2")] * 8
    first = {name: load_policy(name, device="cpu").network.state_dict() for name in set(names)}
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda name: load_policy(name, device="cpu"), names))
    for name, policy in zip(names, loaded, strict=True):
        state = policy.network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in first[name].items())
