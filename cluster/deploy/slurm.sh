#!/usr/bin/env bash
# An Espalier sweep on nodes of Slurm: Ray starts on each, the sweep runs, Ray ends.
#   sbatch --nodes=4 cluster/deploy/slurm.sh /shared/sweeps/cifar10
# docs/cluster.md, "Slurm", has the rest. Options of sbatch go before the script, or here:
#SBATCH --job-name=espalier
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# `ray symmetric-run` ends with `ray stop`, which ends every Ray of its user on the node: share none.
#SBATCH --exclusive
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
# SIGTERM reaches the driver two minutes before the end; it then stops, and running again goes on.
#SBATCH --signal=TERM@120
#SBATCH --output=espalier-%j.log
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
    echo "usage: sbatch [--nodes=N] $0 FOLDER [RESULTS]   (absolute paths on a disk that all nodes share)" >&2
    exit 2
fi

# The environment with Espalier, on a disk that all nodes share.
environment=${ESPALIER_ENV:-$PWD/.venv}
if [[ ! -x $environment/bin/espalier ]]; then
    echo "no $environment/bin/espalier: set ESPALIER_ENV to an environment that all nodes see, with Espalier" >&2
    exit 2
fi
export PATH=$environment/bin:$PATH

# One token for this job alone, in a file that its owner alone reads.
umask 077
private=$(mktemp -d "${ESPALIER_SHARED:-$HOME}/.espalier-${SLURM_JOB_ID}-XXXXXX")
trap 'rm -rf "$private"' EXIT
python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$private/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$private/token
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0

# Ray waits 30 s for the nodes by default, less than a cold file system may need to import it.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}

# Ray finds out by the address which node is the head. A port of the job's own: one that an earlier job used may
# not be free yet.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))

srun --kill-on-bad-exit=1 ray symmetric-run \
    --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    python -m espalier.cluster.submit "$@"
