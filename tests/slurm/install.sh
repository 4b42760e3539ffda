#!/usr/bin/env bash
# Install Debian's Slurm and munge where they are missing. Their services are not started: the test starts its own.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    echo "make test-slurm: root is needed, to start slurmd and to put its configuration below /run" >&2
    exit 1
fi
if ! command -v slurmctld slurmd munged >/dev/null; then
    if ! command -v apt-get >/dev/null; then
        echo "make test-slurm: found no slurmctld, slurmd, munged and no apt-get; install slurm-wlm and munge" >&2
        exit 1
    fi
    apt-get update -qq
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge
fi >/dev/null
