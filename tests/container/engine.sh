#!/usr/bin/env bash
# A Docker engine of its own for the container test: `engine.sh start DIR` prints the socket's address, `stop DIR` ends it
# and removes DIR. Exit code 75: this machine cannot run one; the reason is on stderr. Where Compose v2 was not here but
# could be had, DIR/client is a DOCKER_CONFIG with it.
set -euo pipefail

skip() { echo "SKIPPED: $*" >&2; exit 75; }

# Debian 12 has only Compose 1.29; the plugin of Debian 13 runs on it. Not there, no harm: the test then takes what there is.
compose_v2() {
  local dir=$1 mirror
  docker compose version >/dev/null 2>&1 && return
  # shellcheck disable=SC2016 # apt fills $(REPO_URI) in
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep -v security | head -1 || true)
  [ -n "$mirror" ] || return 0
  mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/client/cli-plugins"
  : >"$dir/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$dir/apt/list"
  local options=(-qq -o "Dir::Etc::sourcelist=$dir/apt/list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/apt/lists"
    -o "Dir::State::status=$dir/apt/status" -o "Dir::Cache=$dir/apt/cache")
  (cd "$dir/apt" && timeout 60 apt-get "${options[@]}" update && timeout 60 apt-get "${options[@]}" download docker-compose \
    && dpkg-deb -x docker-compose_*.deb . && cp usr/libexec/docker/cli-plugins/docker-compose "$dir/client/cli-plugins/") >"$dir/compose.log" 2>&1 || true
  DOCKER_CONFIG="$dir/client" docker compose version >/dev/null 2>&1 || rm -rf "$dir/client"
}

start() {
  local dir=$1
  [ "$(id -u)" = 0 ] || skip "starting a Docker engine takes root"
  if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null || ! { docker compose version || docker-compose version; } >/dev/null 2>&1; then
    command -v apt-get >/dev/null || skip "no Docker engine here, and no apt-get to install one"
    local compose=docker-compose # Ubuntu's v2 has a name of its own
    { apt-get -qq update && { ! apt-cache show docker-compose-v2 >/dev/null 2>&1 || compose=docker-compose-v2; } \
        && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends docker.io "$compose" debootstrap; } \
        >"$dir/apt.log" 2>&1 || skip "docker.io, $compose and debootstrap cannot be installed: $(tail -1 "$dir/apt.log")"
  fi
  compose_v2 "$dir"
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
