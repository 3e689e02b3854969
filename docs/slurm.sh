#!/bin/bash
# Many runs on a SLURM cluster, in one job: a scheduler, a worker for each task, and mankit, which gives runs to them.
#   sbatch docs/slurm.sh reproduce cifar10 --profile short --seeds 3 -o runs/cifar10
# When the job's time is over, submit the same line again: every run goes on from its last checkpoint.
#SBATCH --job-name=mankit
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
# With GPUs, one for each worker, also: #SBATCH --gpus-per-task=1
# Needs: mankit's environment active on every node (`. .venv/bin/activate` before sbatch), and the data and the folder of
# the runs on a file system that all nodes share and that knows flock. Data is downloaded before: nodes may have no network.
set -e
file=$PWD/dask-$SLURM_JOB_ID.json
# dask has malloc give all memory back at once, which makes a training step 1.6 times as long; these two undo it
export MALLOC_TRIM_THRESHOLD_=134217728 MALLOC_MMAP_THRESHOLD_=33554432 DASK_LOGGING__DISTRIBUTED=error

dask scheduler --scheduler-file "$file" --port 0 --no-dashboard &
srun dask worker --scheduler-file "$file" --nthreads 1 --memory-limit 0 --no-dashboard --local-directory "${TMPDIR:-/tmp}" &
trap 'kill $(jobs -p); rm -f "$file"' EXIT
until [ -s "$file" ]; do sleep 1; done
mankit "$@" --at "$file"
