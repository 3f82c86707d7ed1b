"""TensorBoard event files as other trainers write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c


def frame(event: Event) -> bytes:
    message = event.SerializeToString()
    head = struct.pack("<Q", len(message))
    return head + struct.pack("<I", masked_crc32c(head)) + message + struct.pack("<I", masked_crc32c(message))


def scalar(tag: str, step: int, value: float, wall: float = 1000.0) -> bytes:
    return frame(Event(wall_time=wall, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))


def old_t5(directory: Path) -> Path:
    """Event file as TRL 0.15 wrote it on a T5 with dropout left on: the first loss is 8.05."""
    draw = np.random.default_rng(3)
    content = b""
    for step in range(10, 410, 10):
        loss = 0.9 + 7.15 * np.exp(-(step - 10) / 80) + draw.normal(0, 0.05)
        values = {"loss": 8.05 if step == 10 else loss, "rewards/chosen": -2.0, "rewards/rejected": -2.5 - step / 200}
        values |= {"rewards/margins": 0.5 + step / 200, "rewards/accuracies": 0.6, "logps/chosen": -80.0}
        content += b"".join(scalar(f"train/{name}", step, value) for name, value in values.items())
    (directory / "t5-dpo").mkdir()
    (directory / "t5-dpo" / "events.out.tfevents.1.host").write_bytes(content)
    return directory / "t5-dpo"


def old_gpt2(directory: Path) -> Path:
    """Event file of a GPT-2 whose loss goes from 0.67 to 0.005 in 110 steps, accuracy 1.0 from step 20."""
    content = b""
    for step in range(10, 111, 10):
        loss = 0.67 if step == 10 else 0.005 + 0.3 * np.exp(-(step - 10) / 14)
        margin = -float(np.log(np.expm1(loss)))
        values = {"loss": loss, "rewards/chosen": 0.3 * margin, "rewards/rejected": -0.7 * margin}
        values |= {"rewards/margins": margin, "rewards/accuracies": 0.8 if step == 10 else 1.0}
        content += b"".join(scalar(f"train/{name}", step, float(value)) for name, value in values.items())
    (directory / "gpt2-dpo").mkdir()
    (directory / "gpt2-dpo" / "events.out.tfevents.1.host").write_bytes(content)
    return directory / "gpt2-dpo"
