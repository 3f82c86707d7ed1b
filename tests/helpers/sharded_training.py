"""`dpo WORDS` with FSDP over CPU processes: Accelerate offers FSDP on GPUs only, PyTorch's own runs on a CPU as well.

Started by `torchrun` in place of `-m dpo`. What Accelerate would decide for GPUs is decided here for CPUs: after its
state has found several CPU processes, it is told that they are FSDP's. Everything after that is its own code.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ |= {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}  # fmt: skip

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

_own = AcceleratorState.__init__


def _sharded(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
    _own(self, *args, **kwargs)
    plugin = kwargs.get("fsdp_plugin")
    if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = plugin


AcceleratorState.__init__ = _sharded

if __name__ == "__main__":
    from dpo.cli.main import main

    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by way of Python's clean-up, in which a thread of gloo's may abort the process after all is done.
    os._exit(code)
