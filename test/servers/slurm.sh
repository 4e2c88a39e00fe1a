#!/usr/bin/env bash
# A real Slurm cluster on this machine, on loopback alone: munged, slurmctld and one slurmd for each virtual node.
#
#   slurm.sh up DIR OWNER     starts it and waits until it takes jobs; it stops by itself when the process OWNER has ended
#   slurm.sh slurmctld DIR    starts the controller again, with the state that it left
#   slurm.sh slurmd DIR NODE  starts a node again
#   slurm.sh down DIR         stops it
#
# Then SLURM_CONF=DIR/slurm.conf makes every Slurm command ask it. Debian: slurm-wlm, munge. DIR's path must be short: sockets lie in it.
# Three nodes n1 to n3 with two CPUs, 2000 MB and two pretended GPUs each; partition `main`, and `urgent`, whose jobs preempt.
set -euo pipefail
command=$1 dir=$2
nodes=3
export SLURM_CONF=$dir/slurm.conf

configure() {
  local host port
  host=$(hostname -s)
  # Below the ports that the system gives out by itself; another cluster on this machine will have drawn another.
  port=$((20000 + RANDOM % 1000 * 10))
  mkdir -p "$dir"/{run,log,state}
  for ((i = 1; i <= nodes; i++)); do mkdir -p "$dir/spool/n$i"; done
  # munged insists on a socket's folder that others may enter, and on a key that they may not read.
  chmod 755 "$dir" "$dir/run"
  (umask 077 && head -c 1024 /dev/urandom > "$dir/munge.key")
  cat > "$dir/slurm.conf" << END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
CredType=cred/munge
SlurmctldPort=$port
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmdSpoolDir=$dir/spool/%n
StateSaveLocation=$dir/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=300
KillWait=2
MaxArraySize=1001
SlurmdParameters=config_overrides
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1))-$((port + nodes)) CPUs=2 RealMemory=2000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL State=UP PriorityTier=10
END
  # A GPU's file must be a character device, or jobs see no CUDA_VISIBLE_DEVICES. These two exist everywhere, and nobody opens them.
  for device in /dev/null /dev/zero; do
    echo "NodeName=n[1-$nodes] Name=gpu Flags=nvidia_gpu_env File=$device"
  done > "$dir/gres.conf"
}

pids() { cat "$dir"/run/{slurmd-*,slurmctld,munged}.pid 2> /dev/null || true; }

running() {
  local pid alive=
  for pid in $(pids); do kill -0 "$pid" 2> /dev/null && alive="$alive $pid"; done
  echo "$alive"
}

# What watches over a job is a process of its own, which outlives its node to tell the controller of the end.
steps() {
  local pid
  for pid in $(pgrep -x slurmstepd); do
    tr '\0' '\n' < "/proc/$pid/environ" 2> /dev/null | grep -qxF "SLURM_CONF=$SLURM_CONF" && echo "$pid"
  done
  true
}

case $command in
  up)
    owner=$3
    configure
    munged --force --key-file="$dir/munge.key" --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" \
      --log-file="$dir/log/munged.log" --seed-file="$dir/run/munged.seed"
    slurmctld -c
    for ((i = 1; i <= nodes; i++)); do slurmd -N "n$i"; done
    (
      # Neither the caller's output nor its input: it waits for both to be closed.
      exec < /dev/null > /dev/null 2>&1
      while kill -0 "$owner" && [ -d "$dir" ]; do sleep 1; done
      [ ! -d "$dir" ] || "$0" down "$dir"
    ) &
    while ((SECONDS < 60)); do
      [ "$(timeout 10 sinfo -h -p main -o %T%D 2> /dev/null)" = "idle$nodes" ] && exit 0
      sleep 0.1
    done
    echo 'the nodes did not come up within a minute'
    timeout 3 sinfo || true
    tail -n 5 "$dir"/log/*.log
    exit 1
    ;;
  slurmctld) slurmctld ;;
  slurmd) slurmd -N "$3" ;;
  down)
    # shellcheck disable=SC2046
    kill $(pids) 2> /dev/null || true
    for round in $(seq 100); do
      alive=$(running)
      if [ -z "$alive" ]; then
        # shellcheck disable=SC2046
        kill -9 $(steps) 2> /dev/null || true
        exit 0
      fi
      # One that registers with a controller that is gone ignores TERM.
      # shellcheck disable=SC2086
      [ "$round" -ne 50 ] || kill -9 $alive
      sleep 0.1
    done
    echo "still running:$alive"
    exit 1
    ;;
esac
