"""What limits cost: the profiles `limits` (gateways that limit against the same one that does not) and `keys` (how many
clients a gateway remembers, and in how much memory). Clients are told apart by X-Forwarded-For, which all contestants
trust alike; none of them is refused anything."""
import json
import re
import statistics
import time
import urllib.request

import load
import machine
import proxies
import report

LIMITS = ["bare", "local", "redis", "local-no-headers"]
KEYS = ["tokenBucket", "slidingWindow", "fixedWindow"]
MILLION = 1_000_000
# Contestants of the profile `keys`, by the number of clients that they are sent.
LIMITED, BARE = "aegis-%d-keys", "bare-%d-keys"

# So many that a single client at full speed is never refused. A client is idle again within a second, so that most of
# 100 000 in turn are new ones each time: the dearest case.
LIMIT = {"defaultRequests": 6_000_000, "defaultWindowSeconds": 60}
# So that a client that has sent one request is remembered for minutes, and one that has sent millions is not refused.
REMEMBERED = {
    "tokenBucket": {"defaultRequests": 5_000, "defaultBurst": 6_000_000, "defaultWindowSeconds": 30 * 24 * 3600},
    "slidingWindow": {"defaultRequests": 100_000_000, "defaultWindowSeconds": 30 * 24 * 3600},
    "fixedWindow": {"defaultRequests": 100_000_000, "defaultWindowSeconds": 30 * 24 * 3600},
}


class Gateway:
    """A gateway with or without limits, and how far it has come with the clients that it is sent."""

    def __init__(self, server, admin):
        self.server, self.admin, self.sent, self.calls = server, admin, 0, 0

    def page(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/_aegis/rate-limit" % self.admin, timeout=5) as r:
            return json.loads(r.read())

    def store_calls(self):
        return self.page().get("storeCalls", 0)


def run(bench, gateways, clients, seconds):
    """One measured run of all these at the same time, each with its `clients` in turn, going on behind the last one that was
    sent."""
    calls = {name: gateway.store_calls() for name, gateway in gateways.items()}
    rows = load.measure({name: gateway.server for name, gateway in gateways.items()}, bench["upstream"],
                        proxies.BASE + "small", bench["connections"], seconds, bench["cores"], bench["folder"],
                        {name: load.Clients(clients[name], gateway.sent % clients[name]) for name, gateway in gateways.items()})
    for name, gateway in gateways.items():
        row = rows[name]
        row["storeCallsPerRequest"] = (gateway.store_calls() - calls[name]) / max(row["requests"], 1)
        gateway.sent += row["requests"]
        if gateway.server.process.poll() is not None:
            raise SystemExit("%s died under load" % name)
    return rows


def resident_bytes(pid):
    """What a process holds in memory, once it has stopped giving back."""
    least = None
    for _ in range(5):
        time.sleep(0.5)
        now = int(re.search(r"VmRSS:\s+(\d+)", machine.read("/proc/%d/status" % pid)).group(1)) * 1024
        least = now if least is None else min(least, now)
    return least


def start(bench, name, section, redis=None):
    """A gateway that trusts loopback to name its clients; limited by `section`, through `redis` where there is one."""
    port, admin = bench["ports"].pop(), bench["ports"].pop()
    config = json.loads(proxies.aegis_config(port, admin, bench["upstream"].port, ["/**"], False))
    config["server"]["trustedProxies"] = ["127.0.0.0/8"]
    if section is not None:
        config["rateLimit"] = dict(section, onError="deny")      # what Redis does not decide makes the run invalid
    if redis:
        config["redis"] = {"url": "redis://127.0.0.1:%d" % redis.port}
    path = proxies.write(bench["folder"], name + ".yaml", json.dumps(config, indent=1))
    server = proxies.Server(name, [bench["binary"], "serve", "-c", path], port, bench["cores"][0], bench["folder"])
    bench["started"].append(server)
    server.wait()
    gateway = Gateway(server, admin)
    page = gateway.page()
    expected = (section is not None, "redis" if redis else "local")
    if (page["enabled"], page["mode"]) != expected:
        raise SystemExit("%s: limits are %s, %s" % (name, page["enabled"], page["mode"]))
    told = server.get(proxies.BASE + "small")[0].get("RateLimit") is not None
    if told != (section is not None and section.get("headers", True)):
        raise SystemExit("%s: RateLimit is %s the answer" % (name, "in" if told else "not in"))
    return gateway


def rounds(a, bench, gateways, clients):
    """All rounds of one load: within each round the contestants in turn, or all together. `clients` per contestant."""
    runs = {name: [] for name in gateways}
    groups = [gateways] if a.together else [{name: gateway} for name, gateway in gateways.items()]
    if a.warm_up:
        for group in groups:
            run(bench, group, clients, a.warm_up)
    for _ in range(a.rounds):
        for group in groups:
            for name, row in run(bench, group, clients, a.seconds).items():
                runs[name].append(row)
    rows = {name: report.median(r) for name, r in runs.items()}
    for name, row in rows.items():
        calls = sum(r["storeCallsPerRequest"] * r["requests"] for r in runs[name])
        row["storeCallsPerRequest"] = calls / max(sum(r["requests"] for r in runs[name]), 1)
    report.ratios(rows, a.base)
    return rows


def limits(a, bench, tell):
    """Profile `limits`: bare, local and Redis before one client and before many."""
    redis = None
    if "redis" in a.names:
        redis = proxies.start_redis(bench["ports"].pop(), bench["cores"][1], bench["folder"])
        bench["started"].append(redis)
        redis.wait_for_redis()
    section = {"bare": None, "local": LIMIT, "local-no-headers": dict(LIMIT, headers=False), "redis": LIMIT}
    gateways = {n: start(bench, n, section[n], redis if n == "redis" else None) for n in a.names}
    cells, closing, wrong = [], [], []
    for clients in a.keys:
        label = "%d key%s/%dc" % (clients, "s" if clients > 1 else "", bench["connections"])
        rows = rounds(a, bench, gateways, dict.fromkeys(gateways, clients))
        wrong += report.problems(label, rows)
        if redis and gateways["redis"].page()["mode"] != "redis":
            wrong.append("%s: Redis was given up" % label)
        memory = {n: machine.peak_memory_mib(g.server.pid) for n, g in gateways.items()}
        tell(report.table("%s; median of %d × %d s%s; multiples of %s" % (
            label, a.rounds, a.seconds, ", all together" if a.together else "", a.base), rows, memory))
        parts = ["%s %.3f × %s (CPU %.3f)" % (
            n, r["ratio"]["requestsPerSecond"], a.base, r["ratio"]["cpuUsPerRequest"]) for n, r in rows.items() if n != a.base]
        if redis:
            parts.append("%.4f Redis calls per request" % rows["redis"]["storeCallsPerRequest"])
        closing.append("limits %s: %s" % (label, ", ".join(parts)))
        cells.append({"keys": clients, "connections": bench["connections"], "proxies": rows, "peakMemoryMiB": memory})
    return cells, closing, wrong


def remember(a, bench, gateway, clients):
    """Sends a million requests of `clients` in turn, and more until that many are remembered; answers how many are."""
    least, live, wrong = 100_000 if a.quick else MILLION, 0, []
    while gateway.sent < least or live < 0.98 * clients:
        if gateway.sent > 3 * MILLION:
            raise SystemExit("%s remembers %d of %d clients" % (gateway.server.name, live, clients))
        name = gateway.server.name
        got = run(bench, {name: gateway}, {name: clients}, 2 if a.quick else 15)[name]
        wrong += ["%s: %s %d" % (gateway.server.name, k, v) for k, v in got["errors"].items() if v]
        live = gateway.page()["keys"]
    return live, wrong


def flatness(rows, few):
    """Per number of keys other than the fewest: this gateway's rate and CPU time as multiples of those at the fewest, the
    same for the gateway without limits, and the first by the second: what the limits have to do with it. Each is the median
    of the rounds' own quotients."""
    def times(figure, n, names):
        runs = [[max(r[figure], 1e-9) for r in rows[name % k]["runs"]] for name in names for k in (n, few)]
        return statistics.median(r[0] / r[1] / (r[2] / r[3] if len(r) > 2 else 1) for r in zip(*runs))
    for n in (int(name.split("-")[1]) for name in rows if name.startswith("aegis-")):
        if n != few:
            yield n, {k: [times(f, n, names) for f in ("requestsPerSecond", "cpuUsPerRequest")]
                      for k, names in (("limited", [LIMITED]), ("bare", [BARE]), ("quotient", [LIMITED, BARE]))}


def keys(a, bench, tell):
    """Profile `keys`: memory per client, and whether the rate depends on how many there are."""
    cells, closing, wrong = [], [], []
    for algorithm in a.names:
        section = dict(REMEMBERED[algorithm], defaultAlgorithm=algorithm, maxKeys=MILLION * 11 // 8)
        # The rates of one algorithm tell it for all: the memory of each needs only the fewest and the most.
        compared = algorithm == a.names[0]
        counts = a.keys if compared else [min(a.keys), max(a.keys)]
        few, many = min(counts), max(counts)
        gateways, clients, live, resident = {}, {}, {}, {}
        for n in counts:
            clients[LIMITED % n] = n
            gateways[LIMITED % n] = start(bench, "%s-%d" % (algorithm, n), section)
            if compared:
                clients[BARE % n] = n
                gateways[BARE % n] = start(bench, "bare-%d" % n, None)
        for n in (few, many):
            gateway = gateways[LIMITED % n]
            live[n], bad = remember(a, bench, gateway, n)
            wrong += bad
            resident[n] = resident_bytes(gateway.server.pid)
        each = (resident[many] - resident[few]) / max(live[many] - live[few], 1)
        closing.append("keys %s: %.0f bytes per key (%d keys, %.1f MiB; %d, %.1f MiB)" % (
            algorithm, each, live[many], resident[many] / 2**20, live[few], resident[few] / 2**20))
        cell = {"algorithm": algorithm, "bytesPerKey": each, "keys": live, "residentBytes": resident}
        if compared:
            a.base = LIMITED % few
            rows = rounds(a, bench, gateways, clients)
            wrong += report.problems(algorithm, rows)
            memory = {n: machine.peak_memory_mib(g.server.pid) for n, g in gateways.items()}
            tell(report.table("%s, %d connections; median of %d × %d s%s; multiples of %s" % (
                algorithm, bench["connections"], a.rounds, a.seconds, ", all together" if a.together else "", a.base),
                rows, memory))
            for n, times in flatness(rows, few):
                closing.append("keys %s: %d keys %.3f × %d (CPU %.3f), without limits %.3f (CPU %.3f); quotient %.3f (CPU %.3f)" % (
                    algorithm, n, times["limited"][0], few, times["limited"][1], *times["bare"], *times["quotient"]))
            cell["proxies"] = rows
        cells.append(cell)
        for gateway in gateways.values():
            gateway.server.end()
    return cells, closing, wrong
