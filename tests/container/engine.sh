#!/usr/bin/env bash
# A Docker engine of its own for the container test: `engine.sh start DIR` prints the socket's address, `stop DIR` ends it
# and removes DIR. Exit code 75: this machine cannot run one; the reason is on stderr.
set -euo pipefail

skip() { echo "SKIPPED: $*" >&2; exit 75; }

start() {
  local dir=$1
  [ "$(id -u)" = 0 ] || skip "starting a Docker engine takes root"
  if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null || ! { docker compose version || docker-compose version; } >/dev/null 2>&1; then
    command -v apt-get >/dev/null || skip "no Docker engine here, and no apt-get to install one"
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        docker.io docker-compose debootstrap; } >"$dir/apt.log" 2>&1 || skip "docker.io, docker-compose and debootstrap cannot be installed: $(tail -1 "$dir/apt.log")"
  fi
  dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" --host "unix://$dir/docker.sock" \
    --iptables=false --ip6tables=false --bridge=none --log-level warn >"$dir/dockerd.log" 2>&1 &
  for _ in $(seq 60); do
    docker --host "unix://$dir/docker.sock" info >/dev/null 2>&1 && { echo "unix://$dir/docker.sock"; return; }
    kill -0 $! 2>/dev/null || skip "the Docker engine ended: $(tail -1 "$dir/dockerd.log")"
    sleep 1
  done
  skip "the Docker engine did not answer in 60 s: $(tail -1 "$dir/dockerd.log")"
}

stop() {
  local dir=$1
  if [ -f "$dir/pid" ]; then
    kill "$(cat "$dir/pid")" 2>/dev/null || true
    for _ in $(seq 30); do [ -f "$dir/pid" ] || break; sleep 1; done
  fi
  { grep -o " $dir/[^ ]*" /proc/mounts || true; } | sort -r | xargs -r umount -l
  rm -rf "$dir"
}

"$@"
