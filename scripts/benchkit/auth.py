"""What it costs to know who asks: the profile `auth`. Gateways that judge each request against the same one that does not,
which runs twice: what the two differ by is what the machine differs by."""
import base64
import hashlib
import hmac
import json
import os
import time
import urllib.error
import urllib.request

import limits
import load
import machine
import proxies
import report

AUTH = ["bare", "bare-again", "key", "key-of-100000", "token", "tokens-hs256"]
SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"
MANY, TOKENS = 100_000, 50_000


class Sent:
    """Fields that each request has: one value, or the lines of a file in turn."""

    def __init__(self, name=None, value=None, path=None):
        self.name, self.value, self.path = name, value, path

    def script(self):
        if self.name is None:
            return ""
        if self.path is None:
            return 'wrk.headers["%s"] = "%s"\n' % (self.name, self.value)
        return """
local lines, at, head, tail = {}, 0, nil, nil
init = function(args)
  for line in io.lines("%s") do lines[#lines + 1] = line end
  at = math.random(#lines)
  wrk.headers["%s"] = "@@"
  head, tail = wrk.format():match("^(.*)@@(.*)$")
end
request = function()
  at = at %% #lines + 1
  return head .. lines[at] .. tail
end
""" % (self.path, self.name)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(number):
    header = encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    now = int(time.time())
    claims = {"iss": "https://id.example.com", "aud": "api", "sub": "user-%d" % number, "iat": now, "exp": now + 36000,
              "scope": "read write", "roles": ["user"], "email": "user-%d@example.com" % number, "jti": "%032x" % number}
    body = header + "." + encoded(json.dumps(claims).encode())
    return body + "." + encoded(hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).digest())


def key(number):
    return "ak_bench%07d_%s" % (number, hashlib.sha256(b"key %d" % number).hexdigest()[:49])


def record(number):
    digest = hashlib.sha256(key(number).encode()).hexdigest()
    return {"id": "k%d" % number, "hashes": ["sha256:" + digest], "userId": "user-%d" % number, "roles": ["user"], "tier": "pro"}


def start(bench, name):
    """A contestant by name."""
    port, admin = bench["ports"].pop(), bench["ports"].pop()
    config = json.loads(proxies.aegis_config(port, admin, bench["upstream"].port, ["/**"], False))
    if not name.startswith("bare"):
        config["backends"][0]["routes"] = [{"path": "/**", "roles": ["user"]}]
        count = MANY if name.endswith("100000") else 10
        config["auth"] = {"enabled": True, "apiKey": {"keys": [record(n) for n in range(count)]}}
        if name.startswith("token"):
            config["auth"]["issuers"] = [{"name": "id", "issuer": "https://id.example.com", "audience": "api", "secret": SECRET}]
    path = proxies.write(bench["folder"], name + ".json", json.dumps(config))
    server = proxies.Server(name, [bench["binary"], "serve", "-c", path], port, bench["cores"][0], bench["folder"])
    bench["started"].append(server)
    return server


def wait(server, sent):
    """Until it forwards; and it must not, without a credential, where one is wanted."""
    end = time.monotonic() + 30
    while time.monotonic() < end and server.process.poll() is None:
        request = urllib.request.Request(server.url(proxies.BASE + "small"))
        if sent.name:
            value = sent.value or open(sent.path, encoding="ascii").readline().strip()
            request.add_header(sent.name, value)
        try:
            with urllib.request.urlopen(request, timeout=5) as r:
                if len(r.read()) == proxies.SMALL:
                    break
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    else:
        raise SystemExit("%s did not start" % server.name)
    if sent.name:
        try:
            server.get(proxies.BASE + "small")
        except urllib.error.HTTPError as e:
            if e.code == 401:
                return
        raise SystemExit("%s lets pass who brings nothing" % server.name)


def run(a, bench, tell):
    path = os.path.join(bench["folder"], "tokens")
    with open(path, "w", encoding="ascii") as f:
        f.writelines("Bearer %s\n" % token(n) for n in range(TOKENS if "tokens-hs256" in a.names else 1))
    sent = {"bare": Sent(), "bare-again": Sent(), "key": Sent("X-API-Key", key(3)),
            "key-of-100000": Sent("X-API-Key", key(MANY - 7)), "token": Sent("Authorization", "Bearer " + token(1)),
            "tokens-hs256": Sent("Authorization", None, path)}
    servers = {name: start(bench, name) for name in a.names}
    for name, server in servers.items():
        wait(server, sent[name])
    runs = {name: [] for name in servers}
    groups = [servers] if a.together else [{name: server} for name, server in servers.items()]
    where = proxies.BASE + "small"

    def measure(group, seconds):
        return load.measure(group, bench["upstream"], where, bench["connections"], seconds, bench["cores"], bench["folder"],
                            {name: sent[name] for name in group})
    for group in groups:
        measure(group, max(a.warm_up, 1))
    for _ in range(a.rounds):
        for group in groups:
            for name, row in measure(group, a.seconds).items():
                runs[name].append(row)
                if servers[name].process.poll() is not None:
                    raise SystemExit("%s died under load" % name)
    rows = {name: report.median(r) for name, r in runs.items()}
    report.ratios(rows, a.base)
    label = "%dc" % bench["connections"]
    wrong = list(report.problems(label, rows))
    memory = {name: machine.peak_memory_mib(server.pid) for name, server in servers.items()}
    resident = {name: limits.resident_bytes(server.pid) for name, server in servers.items() if name.startswith("key")}
    tell(report.table("%s; median of %d × %d s%s; multiples of %s" % (
        label, a.rounds, a.seconds, ", all together" if a.together else "", a.base), rows, memory))
    bare = rows[a.base]["cpuUsPerRequest"]
    closing = ["auth %s: %s CPU %.3f × %s (%+.2f µs)" % (
        label, n, r["ratio"]["cpuUsPerRequest"], a.base, r["cpuUsPerRequest"] - bare) for n, r in rows.items() if n != a.base]
    if {"key", "key-of-100000"} <= set(resident):
        closing.append("auth: %.0f bytes per key, configuration included" % (
            (resident["key-of-100000"] - resident["key"]) / (MANY - 10)))
    return [{"connections": bench["connections"], "proxies": rows, "peakMemoryMiB": memory}], closing, wrong
