"""The upstream and the proxies: their configurations, and how each is started and ended.

All forward the same way: keep-alive to the upstream, X-Request-ID (to the upstream and to the client),
X-Forwarded-For, -Proto and -Host, X-Real-IP; one thread on one core."""
import json
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import machine

SMALL, LARGE = 100, 102400          # bytes of the two bodies: 0.1 KB and 100 KB
BODIES = {"0.1": ("small", SMALL), "100": ("large", LARGE)}
BASE = "/r42/items/"                # matched by every profile's routes
SENT = ("X-Request-ID", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP")

NGINX_TOP = """daemon off; worker_processes 1; pid %(dir)s/%(name)s.pid; error_log stderr error; %(user)s
events { worker_connections %(most)d; multi_accept on; }
http {
  client_body_temp_path %(dir)s/%(name)s-body; proxy_temp_path %(dir)s/%(name)s-proxy;
  fastcgi_temp_path %(dir)s/%(name)s-f; uwsgi_temp_path %(dir)s/%(name)s-u; scgi_temp_path %(dir)s/%(name)s-s;
  default_type text/plain; server_tokens off; tcp_nodelay on; sendfile on;
  keepalive_requests 1000000000; keepalive_timeout 300s;
"""

UPSTREAM = NGINX_TOP + """  access_log off;
  open_file_cache max=10 inactive=1h; open_file_cache_valid 1h;
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location / { return 200 "%(small)s"; }
    location = """ + BASE + """large { alias %(dir)s/large; }
    location = """ + BASE + """headers { return 200 "%(headers)s"; }
    location = /connections { stub_status; }
  }
}
"""

NGINX = NGINX_TOP + """  access_log %(log)s;
  upstream up { server 127.0.0.1:%(upstream)d; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300s; }
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location / {
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      add_header X-Request-ID $request_id;
      proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
    }
  }
}
"""

HAPROXY = """global
  nbthread 1
  maxconn %(most)d
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:%(port)d backlog 4096
  option forwardfor
  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-ID %%[var(txn.id)]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  http-request set-header X-Real-IP %%[src]
  http-response set-header X-Request-ID %%[var(txn.id)]
  default_backend up
backend up
  server s1 127.0.0.1:%(upstream)d
"""


def routes(count):
    """`count` patterns of four kinds; the measured path is one of them whatever the count."""
    if count == 1:
        return ["/**"]
    kinds = ("/r%d/items/:id/detail", "/r%d/items/*", "/r%d/items/**", "/r%d/items")
    return [kinds[i % 4] % i for i in range(max(count, 43))]


def aegis_config(port, admin, upstream, patterns, full, counted=False):
    """The gateway's configuration; JSON is YAML. `counted`: metrics with a store, as in the full profile."""
    backend = {"name": "bench", "url": "http://127.0.0.1:%d" % upstream, "routes": patterns}
    if full:
        backend["healthCheck"] = {"path": "/health", "intervalMs": 1000, "timeoutMs": 5000}
        backend["circuitBreaker"] = {"failureThreshold": 5, "failureRate": 0.5, "slowCallMs": 10000, "slowCallRate": 0.9}
    return json.dumps({
        "server": {"host": "127.0.0.1", "port": port, "workers": 1},
        "admin": {"host": "127.0.0.1", "port": admin},
        "hotReload": False,
        "metrics": {"store": "sqlite://metrics-%d.db" % port} if full or counted else {"enabled": False},
        "logging": {"level": "info" if full else "warn", "format": "json", "accessLog": full},
        "backends": [backend],
    }, indent=1)


class Server:
    """A started process, pinned to a core. Output goes to a file, or nowhere when it writes an access log."""

    def __init__(self, name, command, port, core, folder, quiet=False):
        self.name, self.port = name, port
        self.output = os.path.join(folder, name + ".out")
        env = {k: v for k, v in os.environ.items() if not k.startswith("AEGIS_") and k != "RUST_LOG"}
        with open(os.devnull if quiet else self.output, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, env=env,
                preexec_fn=lambda: machine.pin([core]))

    @property
    def pid(self):
        return self.process.pid

    def url(self, path):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def get(self, path, timeout=5):
        with urllib.request.urlopen(self.url(path), timeout=timeout) as r:
            return r.headers, r.read()

    def wait(self, seconds=20):
        """Until it forwards; SystemExit with its last words if it does not."""
        end, why = time.monotonic() + seconds, "no answer"
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if len(self.get(BASE + "small")[1]) == SMALL:
                    return
                why = "answered with a body of another size"
            except (urllib.error.URLError, OSError) as e:
                why = str(e)
            time.sleep(0.1)
        words = open(self.output, errors="replace").read()[-2000:] if os.path.exists(self.output) else ""
        raise SystemExit("%s did not start (%s)\n%s" % (self.name, why, words))

    def wait_for_redis(self, seconds=10):
        """Until it answers; SystemExit if it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("%s did not start\n%s" % (self.name, open(self.output, errors="replace").read()[-2000:]))

    def check(self):
        """What this proxy does differently from the others, which would make the comparison unfair."""
        wrong = []
        for body, size in BODIES.values():
            headers, got = self.get(BASE + body)
            if len(got) != size:
                wrong.append("%s: %s body has %d bytes, not %d" % (self.name, body, len(got), size))
            if not headers.get("X-Request-ID"):
                wrong.append("%s: no X-Request-ID in the answer" % self.name)
        values = self.get(BASE + "headers")[1].decode("latin1").split("|")
        wrong += ["%s: %s does not reach the upstream" % (self.name, n) for n, v in zip(SENT, values) if not v]
        return wrong

    def end(self):
        for s, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.process.poll() is not None:
                return
            self.process.send_signal(s)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass


def most_connections():
    """As many connections as the descriptor limit lets a proxy have, both sides counted."""
    return min(10000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def nginx(name, template, port, core, folder, **values):
    values.update(dir=folder, name=name, port=port, most=most_connections(), user="user root;" if os.geteuid() == 0 else "")
    path = write(folder, name + ".conf", template % values)
    return Server(name, ["nginx", "-p", folder, "-c", path, "-e", "stderr"], port, core, folder)


def start_upstream(port, core, folder):
    write(folder, "large", "0123456789abcdef" * (LARGE // 16))
    headers = "|".join("$http_" + h.lower().replace("-", "_") for h in SENT)
    return nginx("upstream", UPSTREAM, port, core, folder, small="x" * SMALL, headers=headers)


def start_redis(port, core, folder):
    """A Redis that keeps nothing on disk."""
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
               "--daemonize", "no", "--dir", folder]
    return Server("redis-server", command, port, core, folder)


def start(name, port, admin, upstream, core, folder, binary):
    """Starts one contestant by name. `aegis-N-routes` is the bare profile with N routes."""
    if name == "nginx":
        return nginx(name, NGINX, port, core, folder, upstream=upstream, log="off")
    if name == "nginx-log":
        return nginx(name, NGINX, port, core, folder, upstream=upstream, log="/dev/null combined buffer=64k flush=1s")
    if name == "haproxy":
        path = write(folder, "haproxy.cfg", HAPROXY % {"port": port, "upstream": upstream, "most": most_connections()})
        return Server(name, ["haproxy", "-db", "-f", path], port, core, folder)
    full = name == "aegis-full"
    count = 100 if full else int(name.split("-")[1]) if name.endswith("-routes") else 1
    path = write(folder, name + ".yaml", aegis_config(port, admin, upstream, routes(count), full, name == "aegis-metrics"))
    if full:  # its output is thrown away, so let a mistake in the configuration be heard now
        r = subprocess.run([binary, "check", "-c", path], stdin=subprocess.DEVNULL, capture_output=True, cwd=folder)
        if r.returncode != 0:
            raise SystemExit("aegis check refused the benchmark's configuration\n%s" % (r.stdout + r.stderr).decode())
    return Server(name, [binary, "serve", "-c", path], port, core, folder, quiet=full)
