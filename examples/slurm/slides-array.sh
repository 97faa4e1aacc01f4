#!/bin/bash
# Analyze the slides of a list (one path a line) as a job array, a slide for each task:
#   sbatch --array=1-$(wc -l < slides.txt)%20 slides-array.sh slides.txt results [OPTIONS OF SLIDE]
# The same command continues: finished slides end at once, interrupted ones resume.
#SBATCH --job-name=slides
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --output=slides-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -eu
list=$1 out=$2
shift 2

slide=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
if [ -z "$slide" ]; then
    echo "$list has no line $SLURM_ARRAY_TASK_ID" >&2
    exit 2
fi

# Two minutes before the time limit: end the analysis, which can be resumed, and put this task into the queue again.
requeue() {
    kill "$analysis"
    wait "$analysis" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 1
}
trap requeue USR1

napari-melanoma slide "$slide" --out "$out" "$@" &
analysis=$!
wait "$analysis"
