"""Scores and gradients with every block's weights split over two processes (FSDP), beside those of one process.

Started by `run_together`, as `torchrun` does it; prints the largest differences as JSON.
"""

from __future__ import annotations

import json
import os

import torch
import torch.distributed as dist
from tiny import tiny
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from dpo.policies.scoring import install_scoring_head, score_batch

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [4, 5, 6]]
ANSWERS = [[9, 8, 7, 2], [9, 30, 2], [40, 2], [4, 5, 6, 2]]


def backward(logps: torch.Tensor) -> None:
    chosen, rejected = logps.sum(1).chunk(2)
    (chosen - rejected).square().sum().backward()


def compare(family: str) -> dict[str, float]:
    policy = tiny(family)
    model = policy.network.eval()
    batch = policy.family.collate(PROMPTS, ANSWERS, policy.pad_token_id, policy.decoder_start)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    whole = score_batch(model, policy.family, batch, labels).log_probs
    assert whole is not None
    backward(whole)
    wanted = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    install_scoring_head(model, policy.family, details=False)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    blocks = [module for module in model.modules() if type(module).__name__ in ("GPT2Block", "T5Block")]
    assert blocks
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh)
    split = model(**batch, labels=labels, fused_lm_head=True).log_probs
    backward(split)
    found = {name: value.grad.full_tensor() for name, value in model.named_parameters() if value.grad is not None}
    assert found.keys() == wanted.keys()
    gradients = max(float((found[name] - value).abs().max() / value.abs().max()) for name, value in wanted.items())
    return {"log_probs": float((split - whole).abs().max()), "gradients": gradients}


if __name__ == "__main__":
    dist.init_process_group("gloo")
    differences = {family: compare(family) for family in ("t5", "gpt2")}
    if dist.get_rank() == 0:
        print(json.dumps(differences), flush=True)
    dist.barrier()
    dist.destroy_process_group()
    # Not by way of Python's clean-up: there a thread of gloo's that is still running now and then aborts the process
    # ("terminate called without an active exception"), after everything was measured.
    os._exit(0)
