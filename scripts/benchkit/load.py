"""One measurement: wrk against one server, with the server's CPU time beside it."""
import json
import os
import re
import subprocess
from dataclasses import dataclass

import machine

# wrk's own figures, unrounded. `done` runs once, after the load.
REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('WRK {"requests":%.0f,"microseconds":%.0f,"bytes":%.0f,"p50":%.1f,"p90":%.1f,"p99":%.1f,"max":%.1f,'
    .. '"errors":{"connect":%.0f,"read":%.0f,"write":%.0f,"timeout":%.0f,"status":%.0f}}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency.max, e.connect, e.read, e.write, e.timeout, e.status))
end
"""

# One client after the other, by their X-Forwarded-For. Each request is put together when it is sent, for one client as for
# a million: prepared ones would be hundreds of megabytes, read through the processor's cache that the gateway uses as well.
IN_TURN = """
local at, count = %d, %d
local octets, head, tail = {}, nil, nil
init = function(args)
  for i = 0, 255 do octets[i] = "." .. i end
  wrk.headers["X-Forwarded-For"] = "10@"
  head, tail = wrk.format():match("^(.*10)@(.*)$")
end
request = function()
  at = at + 1
  if at >= count then at = 0 end
  local c = at %% 256
  local ab = (at - c) / 256
  local b = ab %% 256
  return head .. octets[(ab - b) / 256] .. octets[b] .. octets[c] .. tail
end
"""


@dataclass
class Clients:
    """So many clients in turn, of which the first is the one behind `at`."""
    count: int
    at: int

    def script(self):
        return IN_TURN % (self.at, self.count)


def begin(url, connections, seconds, cores, folder, name="load", clients=None):
    """Starts wrk; `name` is that of its script, one for each that runs at the same time."""
    script = os.path.join(folder, name + ".lua")
    with open(script, "w", encoding="utf-8") as f:
        f.write(REPORT + (clients.script() if clients else ""))
    threads = 1 if clients else min(len(cores), connections)    # each thread would begin with the same client
    command = ["wrk", "-t%d" % threads, "-c%d" % connections, "-d%ds" % seconds, "--latency", "-s", script, url]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=lambda: machine.pin(cores))


def end(process, seconds):
    """wrk's figures; SystemExit when it printed none."""
    try:
        out, err = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    found = re.search(rb"^WRK (\{.*\})$", out, re.M)
    if not found:
        raise SystemExit("wrk failed: %s" % (out + err).decode("utf-8", "replace")[-500:])
    return json.loads(found.group(1))


def wrk(url, connections, seconds, cores, folder):
    """Runs wrk and returns its figures."""
    return end(begin(url, connections, seconds, cores, folder), seconds)


def upstream_connections(upstream):
    """Connections the upstream has accepted so far."""
    return int(upstream.get("/connections")[1].split(b"\n")[2].split()[0])


def measure(servers, upstream, path, connections, seconds, cores, folder, clients=None):
    """One run against all of `servers` at the same time, with so many connections in all: by name, plain dictionaries of
    figures. `clients` by name."""
    proxy_core, _, wrk_cores = cores
    share = max(connections // len(servers), 1)
    opened, busy = upstream_connections(upstream), machine.busy_seconds(proxy_core)
    cpu = {name: machine.cpu_seconds(server.pid) for name, server in servers.items()}
    loads = {name: begin(server.url(path), share, seconds, wrk_cores, folder, "load-" + name, (clients or {}).get(name))
             for name, server in servers.items()}
    figures = {name: end(process, seconds) for name, process in loads.items()}
    cpu = {name: machine.cpu_seconds(server.pid) - cpu[name] for name, server in servers.items()}
    busy = machine.busy_seconds(proxy_core) - busy
    opened = upstream_connections(upstream) - opened - 1        # less the one that asks for the number
    rows = {}
    for name, got in figures.items():
        wall, requests = got["microseconds"] / 1e6, max(got["requests"], 1)
        rows[name] = {
            "requestsPerSecond": got["requests"] / wall,
            "p50Us": got["p50"], "p90Us": got["p90"], "p99Us": got["p99"], "maxUs": got["max"],
            "cpuUsPerRequest": cpu[name] * 1e6 / requests,
            # Of those who shared the core, all together.
            "cpuShare": sum(cpu.values()) / wall,
            "otherShare": max(0.0, busy - sum(cpu.values())) / wall if servers[name] is not upstream else 0.0,
            "megabytesPerSecond": got["bytes"] / wall / 1e6,
            "requests": got["requests"],
            "upstreamConnections": opened,
            "errors": got["errors"],
        }
    return rows
