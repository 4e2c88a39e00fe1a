#!/usr/bin/env bash
# rgw.sh up DIR PORT | down DIR
# A real S3 server on loopback: Ceph with one monitor, one OSD in memory and one gateway, at http://127.0.0.1:PORT with the keys test and
# testsecret. The monitor listens on PORT + 1. Nothing outlives `down`. Debian: ceph-mon, ceph-osd, radosgw, ceph-common.
set -euo pipefail
dir=$2
ceph="timeout 60 ceph -c $dir/ceph.conf"

daemons() { for name in client.rgw osd.0 mon.a; do [ ! -s "$dir/run/$name.pid" ] || cat "$dir/run/$name.pid"; done; }

# Waits until a command succeeds.
until_it_does() {
  for _ in $(seq 250); do
    if "$@" > "$dir/log/waiting" 2>&1; then return; fi
    sleep 0.2
  done
  echo "rgw.sh: gave up waiting for: $*" >&2
  cat "$dir/log/waiting" >&2
  return 1
}

# An OSD that asks the monitor for something before it knows the cluster's fsid is refused and ends: it is started again.
osd_is_up() {
  kill -0 "$(cat "$dir/run/osd.0.pid")" || ceph-osd -c "$dir/ceph.conf" -i 0
  $ceph osd stat | grep -q '1 up'
}

case $1 in
up)
  port=$3
  mkdir -p "$dir"/{mon,osd,rgw,run,log}
  cat > "$dir/ceph.conf" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v1:127.0.0.1:$((port + 1))/0]
mon initial members = a
public network = 127.0.0.0/8
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd objectstore = memstore
memstore device bytes = 1073741824
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
run dir = $dir/run
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.asok
log file = $dir/log/\$name.log
keyring = $dir/keyring
mon data = $dir/mon
osd data = $dir/osd
[client.rgw]
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = 127.0.0.1
rgw enable usage log = false
END
  : > "$dir/keyring"
  exec 3>&2 > "$dir/log/up.log" 2>&1
  trap '[ $? = 0 ] || cat "$dir/log/up.log" >&3' EXIT
  monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$dir/ceph.conf")" --addv a "[v1:127.0.0.1:$((port + 1))]" "$dir/monmap"
  ceph-mon -c "$dir/ceph.conf" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon -c "$dir/ceph.conf" -i a
  osd=$(cat /proc/sys/kernel/random/uuid)
  $ceph osd new "$osd" 0
  ceph-osd -c "$dir/ceph.conf" -i 0 --mkfs --osd-uuid "$osd"
  $ceph osd crush add osd.0 1.0 root=default host=h
  until_it_does osd_is_up
  radosgw -c "$dir/ceph.conf" -n client.rgw
  until_it_does curl -s "http://127.0.0.1:$port/"
  timeout 60 radosgw-admin -c "$dir/ceph.conf" user create --uid t --display-name t --access-key test --secret testsecret
  ;;
down)
  pids=$(daemons)
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -9 $pids
  ;;
*)
  echo "rgw.sh up DIR PORT | down DIR" >&2
  exit 2
  ;;
esac
