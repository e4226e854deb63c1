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

# One client after the other, by their X-Forwarded-For. The requests are made before the clock runs.
IN_TURN = """
local requests, at, count = {}, %d, %d
init = function(args)
  for i = 0, count - 1 do
    wrk.headers["X-Forwarded-For"] = string.format("10.%%d.%%d.%%d", math.floor(i / 65536), math.floor(i / 256) %% 256, i %% 256)
    requests[i] = wrk.format()
  end
end
request = function()
  at = at + 1
  if at >= count then at = 0 end
  return requests[at]
end
"""
ONE = 'wrk.headers["X-Forwarded-For"] = "10.0.0.0"\n'


@dataclass
class Clients:
    """So many clients in turn, of which the first is the one behind `at`."""
    count: int
    at: int

    def script(self):
        return ONE if self.count == 1 else IN_TURN % (self.at, self.count)


def wrk(url, connections, seconds, cores, folder, clients=None):
    """Runs wrk and returns its figures; SystemExit when it printed none."""
    script = os.path.join(folder, "load.lua")
    with open(script, "w", encoding="utf-8") as f:
        f.write(REPORT + (clients.script() if clients else ""))
    threads = 1 if clients else len(cores)          # each thread would begin with the same client
    command = ["wrk", "-t%d" % threads, "-c%d" % connections, "-d%ds" % seconds, "--latency", "-s", script, url]
    r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + 30,
                       preexec_fn=lambda: machine.pin(cores))
    found = re.search(rb"^WRK (\{.*\})$", r.stdout, re.M)
    if not found:
        raise SystemExit("wrk failed: %s" % (r.stdout + r.stderr).decode("utf-8", "replace")[-500:])
    return json.loads(found.group(1))


def upstream_connections(upstream):
    """Connections the upstream has accepted so far."""
    return int(upstream.get("/connections")[1].split(b"\n")[2].split()[0])


def measure(server, upstream, path, connections, seconds, cores, folder, clients=None):
    """One run, as a plain dictionary of figures."""
    proxy_core, _, wrk_cores = cores
    opened, cpu, busy = upstream_connections(upstream), machine.cpu_seconds(server.pid), machine.busy_seconds(proxy_core)
    got = wrk(server.url(path), connections, seconds, wrk_cores, folder, clients)
    wall = got["microseconds"] / 1e6
    cpu, busy = machine.cpu_seconds(server.pid) - cpu, machine.busy_seconds(proxy_core) - busy
    opened = upstream_connections(upstream) - opened - 1      # less the one that asks for the number
    requests = max(got["requests"], 1)
    return {
        "requestsPerSecond": got["requests"] / wall,
        "p50Us": got["p50"], "p90Us": got["p90"], "p99Us": got["p99"], "maxUs": got["max"],
        "cpuUsPerRequest": cpu * 1e6 / requests,
        "cpuShare": cpu / wall,
        "otherShare": max(0.0, busy - cpu) / wall if server is not upstream else 0.0,
        "megabytesPerSecond": got["bytes"] / wall / 1e6,
        "requests": got["requests"],
        "upstreamConnections": opened,
        "errors": got["errors"],
    }
