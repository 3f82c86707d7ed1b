#!/usr/bin/env bash
# Two machines with eight GPUs each: sbatch configs/launch/slurm.sh
# The checkout, its .venv and runs/ lie on a file system that all machines share.
#SBATCH --job-name=dpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --output=dpo-%j.log
set -euo pipefail
source .venv/bin/activate
RUN=runs/slurm-$SLURM_JOB_ID
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Five minutes before its time is up the job gets SIGTERM: torchrun passes it on and waits 30 seconds, in which the step is
# finished and saved. Requeued, the run goes on; after a harder end, from its last checkpoint.
if [ -f "$RUN/run.json" ]; then
    WORDS=(train --resume "$RUN")
else
    WORDS=(train --config configs/gpt2-hh-rlhf.yaml --output-dir "$RUN")
fi
srun --kill-on-bad-exit=1 torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD:29500" --rdzv-id "$SLURM_JOB_ID" -m dpo "${WORDS[@]}"
