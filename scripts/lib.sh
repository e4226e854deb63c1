# Shared by the bash scripts beside it: source it after `set -euo pipefail`.
# Processes started with `start` are ended, by their own ids, when the script ends.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PIDS=()

die() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# start LOGFILE COMMAND…: in the background, without standard input; STARTED is its process id.
start() {
  local log=$1
  shift
  "$@" </dev/null >"$log" 2>&1 &
  STARTED=$!
  PIDS+=("$STARTED")
}

# stop PID: asks it to end, and after ten seconds makes it.
stop() {
  local pid=$1 i
  kill -TERM "$pid" 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

stop_all() {
  local pid
  for pid in "${PIDS[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then stop "$pid"; fi
  done
}

# free_ports N: N loopback ports that nothing listens on, on one line.
free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

# wait_for URL SECONDS PID: until URL answers 200; fails when the process ends first or the time is up.
wait_for() {
  python3 - "$@" <<'PY'
import http.client, os, sys, time, urllib.parse
url, seconds, pid = urllib.parse.urlsplit(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        c = http.client.HTTPConnection(url.hostname, url.port, timeout=2)
        c.request("GET", url.path or "/")
        if c.getresponse().status == 200:
            sys.exit(0)
    except (OSError, http.client.HTTPException):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        sys.exit(1)
    time.sleep(0.1)
sys.exit(1)
PY
}

# postgres_on_path: Debian keeps PostgreSQL's server off the path.
postgres_on_path() {
  local bin
  for bin in /usr/lib/postgresql/*/bin; do PATH=$PATH:$bin; done
}

# target_folder: where cargo builds.
target_folder() {
  (cd "$ROOT" && cargo metadata --no-deps --format-version 1) |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# built PROFILE: builds the gateway (dev or release) and leaves its path in BIN; `AEGIS_BIN` names one already built.
built() {
  if [ -n "${AEGIS_BIN:-}" ]; then
    [ -x "$AEGIS_BIN" ] || die "AEGIS_BIN=$AEGIS_BIN is not an executable file"
    BIN=$(realpath "$AEGIS_BIN")
    return
  fi
  command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup"
  (cd "$ROOT" && cargo build --profile "$1" --bin aegis >&2) || return 1
  local folder=$1
  if [ "$1" = dev ]; then folder=debug; fi
  BIN=$(target_folder)/$folder/aegis
}
