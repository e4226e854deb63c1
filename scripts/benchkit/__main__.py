"""The benchmark's command line: builds, starts everything, measures in turn, reports. See docs/benchmark.md."""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import auth
import limits
import load
import machine
import proxies
import report

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EVERY = ["direct", "nginx", "haproxy", "aegis", "nginx-log", "aegis-full"]
OF_PROFILE = {"bare": ["direct", "nginx", "haproxy", "aegis"], "full": ["direct", "nginx", "nginx-log", "aegis-full"],
              "metrics": ["aegis", "aegis-metrics"], "all": EVERY}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def numbers(text):
    return [int(x) for x in text.split(",")]


def arguments():
    p = argparse.ArgumentParser(prog="scripts/bench", description="AEGIS, nginx and HAProxy before the same upstream, in one run.")
    p.add_argument("--quick", action="store_true", help="one round of 2 s: a look, not a measurement")
    p.add_argument("--rounds", type=int, help="rounds per cell, interleaved; the median counts (3; routes: 9)")
    p.add_argument("--seconds", type=int, help="length of one run (5; routes: 2)")
    p.add_argument("--warm-up", type=int, default=1, metavar="S", help="unmeasured load before each cell's first round (1)")
    p.add_argument("--connections", type=numbers, metavar="LIST", help="64,512")
    p.add_argument("--bodies", metavar="LIST", help="0.1,100 (KB)")
    p.add_argument("--profile", choices=["bare", "full", "metrics", "all", "routes", "limits", "keys", "auth"],
                   default="all", help="limits: what limits cost; keys: memory per limited client; auth: what it costs to "
                   "know who asks")
    p.add_argument("--routes", action="store_true", help="the same as --profile routes: few routes against many")
    p.add_argument("--route-counts", type=numbers, default=[1, 5000], metavar="LIST", help="1,5000")
    p.add_argument("--keys", type=numbers, metavar="LIST", help="clients in turn: 1,100000 (keys: 1,1000,100000,1000000)")
    p.add_argument("--only", metavar="LIST", help="some of %s; limits: %s; keys: %s; auth: %s" % (
        ",".join(EVERY), ",".join(limits.LIMITS), ",".join(limits.KEYS), ",".join(auth.AUTH)))
    p.add_argument("--together", action="store_true", help="all contestants under load at the same time, with so many "
                   "connections in all: for machines that are fast and slow by turns")
    p.add_argument("--cores", metavar="P,U,W", type=numbers, help="core of the proxy, of the upstream, of wrk")
    p.add_argument("--no-build", action="store_true", help="use the release binary as it is")
    p.add_argument("--bin", metavar="PATH", help="use this gateway binary; implies --no-build")
    p.add_argument("--perf", metavar="FOLDER", help="afterwards record a CPU profile of each AEGIS contestant there")
    p.add_argument("--json", action="store_true", help="one JSON document on standard output; everything else on standard error")
    p.add_argument("--keep", action="store_true", help="keep the folder with configurations and logs")
    a = p.parse_args()
    routes = a.routes or a.profile == "routes"
    limited = a.profile in ("limits", "keys", "auth")
    small = routes or limited                                            # a small difference wants many short rounds
    a.rounds = a.rounds or (1 if a.quick else 9 if small else 3)
    a.seconds = a.seconds or (2 if a.quick or small else 5)
    if not (1 <= a.rounds <= 50 and 1 <= a.seconds <= 120 and 0 <= a.warm_up <= 60):
        p.error("rounds 1-50, seconds 1-120, warm-up 0-60")
    a.connections = a.connections or ([64] if small else [64, 512])
    if not all(1 <= c <= 4000 for c in a.connections):
        p.error("connections 1-4000")
    a.bodies = (a.bodies or ("0.1" if small else "0.1,100")).split(",")
    if set(a.bodies) - set(proxies.BODIES):
        p.error("bodies are " + ",".join(proxies.BODIES))
    if limited and a.perf:
        p.error("--perf is not for the profiles limits, keys and auth")
    if limited and len(a.connections) > 1:
        p.error("one number of connections")
    a.keys = a.keys or ([1, 100_000] if a.profile == "limits" else [1, 1_000, 100_000, 1_000_000])
    if not all(1 <= k <= 1_000_000 for k in a.keys) or (a.profile == "keys" and len(set(a.keys)) < 2):
        p.error("keys 1-1000000, for the profile keys more than one number")
    every = {"limits": limits.LIMITS, "keys": limits.KEYS, "auth": auth.AUTH}.get(a.profile, EVERY)
    a.names = ["aegis-%d-routes" % n for n in a.route_counts] if routes else every if limited else OF_PROFILE[a.profile]
    if a.together:
        a.names = [n for n in a.names if n != "direct"]                  # it has the other core
    if a.only:
        wanted = a.only.split(",")
        if set(wanted) - set(every):
            p.error("--only takes " + ",".join(every))
        a.names = [n for n in a.names if n in wanted]
    if not [n for n in a.names if n != "direct"]:
        p.error("nothing to measure")
    a.base = a.names[0] if routes else "nginx" if "nginx" in a.names else [n for n in a.names if n != "direct"][0]
    if a.cores and len(a.cores) != 3:
        p.error("--cores takes three numbers")
    return a


def binary(a):
    """Path of the gateway, built first unless told otherwise."""
    if a.bin:
        path = os.path.abspath(a.bin)
    else:
        if not shutil.which("cargo"):
            raise SystemExit("cargo is missing: install Rust with rustup, or name a binary with --bin")
        if not a.no_build:
            say("building the release binary")
            build = ["cargo", "build", "--release", "--bin", "aegis"]
            if subprocess.run(build, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
                raise SystemExit("the build failed")
        r = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        path = os.path.join(json.loads(r.stdout)["target_directory"], "release", "aegis")
    if not os.access(path, os.X_OK):
        raise SystemExit("no gateway binary at %s" % path)
    return path


def ensure(a):
    wanted = ["wrk=wrk", "nginx=nginx-light"]
    wanted += ["haproxy=haproxy"] if "haproxy" in a.names else []
    wanted += ["redis-server=redis-server"] if "redis" in a.names else []
    wanted += ["perf=linux-perf"] if a.perf else []
    if subprocess.run([os.path.join(HERE, "..", "ensure"), *wanted], stdout=sys.stderr).returncode:
        raise SystemExit(2)


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def start_all(a, folder, cores, path, started):
    """Starts the upstream and every contestant; returns them by name."""
    ports = free_ports(1 + 2 * len(a.names))
    upstream = proxies.start_upstream(ports.pop(), cores[1], folder)
    started.append(upstream)
    upstream.wait()
    servers = {}
    for name in a.names:
        if name == "direct":
            servers[name] = upstream
            continue
        servers[name] = proxies.start(name, ports.pop(), ports.pop(), upstream.port, cores[0], folder, path)
        started.append(servers[name])
        servers[name].wait()
    return upstream, servers


def cell(a, servers, upstream, connections, body, cores, folder):
    """All rounds of one cell: within each round the contestants in turn, or all together."""
    where = proxies.BASE + proxies.BODIES[body][0]
    runs = {name: [] for name in servers}
    for server in servers.values():
        if a.warm_up:
            load.wrk(server.url(where), connections, a.warm_up, cores[2], folder)
    groups = [servers] if a.together else [{name: server} for name, server in servers.items()]
    for _ in range(a.rounds):
        for group in groups:
            for name, row in load.measure(group, upstream, where, connections, a.seconds, cores, folder).items():
                runs[name].append(row)
                if group[name].process.poll() is not None:
                    raise SystemExit("%s died under load" % name)
    rows = {name: report.median(r) for name, r in runs.items()}
    report.ratios(rows, a.base)
    return rows


def profile_cpu(a, servers, cores, folder):
    """`perf record` of each AEGIS contestant under the first cell's load, and the costliest symbols as text."""
    out = os.path.abspath(a.perf)
    os.makedirs(out, exist_ok=True)
    for name, server in servers.items():
        if not name.startswith("aegis"):
            continue
        data, text = os.path.join(out, name + ".perf"), os.path.join(out, name + ".txt")
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-g", "-o", data, "-p", str(server.pid),
                   "--", "sleep", str(a.seconds)]
        recorder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        where = proxies.BASE + proxies.BODIES[a.bodies[0]][0]
        load.wrk(server.url(where), a.connections[0], a.seconds + 1, cores[2], folder)
        recorder.wait(30)
        with open(text, "w", encoding="utf-8") as f:
            subprocess.run(["perf", "report", "-i", data, "--no-children", "-g", "none", "--stdio"],
                           stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.DEVNULL)
        say("profile of %s: %s, %s" % (name, data, text))


def run_limits(a, folder, cores, path, started, tell):
    """The profiles `limits`, `keys` and `auth`: cells, closing lines, and what makes them invalid."""
    ports = free_ports(2 + 2 * (len(a.names) + 1) * len(a.keys) + 2 * len(a.names))
    upstream = proxies.start_upstream(ports.pop(), cores[1], folder)
    started.append(upstream)
    upstream.wait()
    bench = {"upstream": upstream, "ports": ports, "cores": cores, "folder": folder, "binary": path, "started": started,
             "connections": a.connections[0]}
    return {"limits": limits.limits, "keys": limits.keys, "auth": auth.run}[a.profile](a, bench, tell)


def run(a, folder, started):
    limited = a.profile in ("limits", "keys", "auth")
    path = binary(a) if limited or any(n.startswith("aegis") for n in a.names) else None
    cores = (a.cores[0], a.cores[1], [a.cores[2]]) if a.cores else machine.choose_cores()
    about = machine.describe(path, ROOT, cores)
    tell = say if a.json else print
    tell("%s, %d cores, kernel %s; proxy on core %d, upstream on %d, wrk on %s; load average %.2f before the run" % (
        about["cpu"], about["cores"], about["kernel"], cores[0], cores[1], ",".join(map(str, cores[2])),
        about["loadAverage"]))
    if cores[0] in (cores[1], *cores[2]):
        tell("note: the proxy shares its core with the load; rates are of the whole, compare CPU per request")
    if limited:
        return finish(a, tell, about, *run_limits(a, folder, cores, path, started, tell))
    upstream, servers = start_all(a, folder, cores, path, started)
    wrong = [w for name, s in servers.items() if name != "direct" for w in s.check()]
    cells, closing = [], []
    for connections in a.connections:
        for body in a.bodies:
            label = "%sKB/%dc" % (body, connections)
            rows = cell(a, servers, upstream, connections, body, cores, folder)
            memory = {name: machine.peak_memory_mib(s.pid) for name, s in servers.items()}
            wrong += report.problems(label, rows)
            closing += report.summary(label, rows, a.base)
            title = "%s KB body, %d connections; median of %d × %d s%s; multiples of %s" % (
                body, connections, a.rounds, a.seconds, ", all together" if a.together else "", a.base)
            tell(report.table(title, rows, memory))
            cells.append({"connections": connections, "bodyBytes": proxies.BODIES[body][1],
                          "proxies": rows, "peakMemoryMiB": memory})
    if a.perf:
        profile_cpu(a, servers, cores, folder)
    return finish(a, tell, about, cells, closing, wrong)


def finish(a, tell, about, cells, closing, wrong):
    """The closing lines and the document; answers the exit code."""
    if a.json:
        print(json.dumps({
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": about, "base": a.base,
            "rounds": a.rounds, "seconds": a.seconds, "cells": cells, "summary": closing,
            "valid": not wrong, "problems": wrong}, indent=1))
    tell("")
    for w in wrong:
        tell("INVALID " + w)
    for line in closing:
        tell(line)
    return 1 if wrong else 0


def main():
    a = arguments()
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ensure(a)
    machine.raise_descriptor_limit()
    folder, started = tempfile.mkdtemp(prefix="aegis-bench-"), []
    os.chmod(folder, 0o755)
    try:
        return run(a, folder, started)
    except KeyboardInterrupt:
        return 130
    finally:
        for server in reversed(started):
            server.end()
        if a.keep:
            say("configurations and logs: " + folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


sys.exit(main())
