"""From runs to medians, ratios, tables and the closing lines."""
import statistics

FIGURES = ("requestsPerSecond", "p50Us", "p99Us", "cpuUsPerRequest")
SHOWN = FIGURES + ("p90Us", "maxUs", "cpuShare", "otherShare", "megabytesPerSecond")
PROFILES = {                       # profile: (the gateway's contestant, the others that belong to it)
    "bare": ("aegis", ("haproxy",)),
    "full": ("aegis-full", ("nginx-log",)),
}


def median(runs):
    """One row: the median of each figure over the runs, and how far the rates lay apart."""
    row = {k: statistics.median(r[k] for r in runs) for k in SHOWN}
    rates = [r["requestsPerSecond"] for r in runs]
    row["spread"] = (max(rates) - min(rates)) / row["requestsPerSecond"] if row["requestsPerSecond"] else 0.0
    row["upstreamConnections"] = max(r["upstreamConnections"] for r in runs)
    row["errors"] = {k: sum(r["errors"][k] for r in runs) for k in runs[0]["errors"]}
    row["runs"] = runs
    return row


def ratios(rows, base):
    """Adds to each row its figures as a multiple of the base's: the median over the rounds of the two runs' quotient,
    so that a machine that slows down for a while slows down both sides of it."""
    for row in rows.values():
        pairs = list(zip(row["runs"], rows[base]["runs"]))
        row["ratio"] = {k: statistics.median(r[k] / max(b[k], 1e-9) for r, b in pairs) for k in FIGURES}


def problems(cell, rows):
    """What makes a run invalid: an error of any kind, or an answer that was not 2xx or 3xx."""
    for name, row in rows.items():
        bad = ", ".join("%s %d" % (k if k != "status" else "not 2xx/3xx", v) for k, v in row["errors"].items() if v)
        if bad:
            yield "%s, %s: %s" % (cell, name, bad)
        if not any(r["requests"] for r in row["runs"]):
            yield "%s, %s: no request was answered" % (cell, name)


def remarks(rows):
    """What a reader should know about the rows before believing them."""
    for name, row in rows.items():
        if name == "direct":
            continue
        if row["otherShare"] > 0.1:
            yield "%s shared its core: %.0f %% went to something else" % (name, 100 * row["otherShare"])
        elif row["cpuShare"] < 0.9:
            yield "%s used %.0f %% of its core: the load side was the limit; compare its CPU per request" % (
                name, 100 * row["cpuShare"])
        if row["spread"] > 0.15:
            yield "%s: rates lie %.0f %% apart from run to run" % (name, 100 * row["spread"])
        if row["upstreamConnections"] > 0.05 * max(r["requests"] for r in row["runs"]):
            yield "%s opened %d upstream connections in one run: they are not reused" % (
                name, row["upstreamConnections"])


def table(title, rows, memory):
    """A table as text; the multiples are of the base's figures."""
    def times(row, key):
        return "%6.2f×" % row["ratio"][key]
    lines = ["", title, "  %-18s %9s %7s %8s %7s %8s %7s %8s %7s %6s %6s" % (
        "proxy", "req/s", "", "p50 ms", "", "p99 ms", "", "CPU µs", "", "core", "MiB")]
    for name, row in rows.items():
        direct = name == "direct"
        lines.append("  %-18s %9.0f %7s %8.2f %7s %8.2f %7s %8s %7s %6s %6s" % (
            name, row["requestsPerSecond"], times(row, "requestsPerSecond"), row["p50Us"] / 1e3, times(row, "p50Us"),
            row["p99Us"] / 1e3, times(row, "p99Us"), "-" if direct else "%.1f" % row["cpuUsPerRequest"],
            "" if direct else times(row, "cpuUsPerRequest"), "-" if direct else "%.0f%%" % (100 * row["cpuShare"]),
            "-" if direct else "%.0f" % memory.get(name, 0)))
    return "\n".join(lines + ["  note: " + r for r in remarks(rows)])


def summary(cell, rows, base):
    """One line per profile: `bare 0.1KB/64c: aegis 0.93 × nginx, haproxy 1.06 × nginx`."""
    def part(name, row):
        return "%s %.2f × %s" % (name, row["ratio"]["requestsPerSecond"], base)
    counted = [n for n in rows if n.endswith("-routes")]
    if counted:
        more = ["%s (CPU %.2f)" % (part(n, rows[n]), rows[n]["ratio"]["cpuUsPerRequest"]) for n in counted if n != base]
        yield "routes %s: %s" % (cell, ", ".join(more))
        return
    if "aegis-metrics" in rows:
        ratio = rows["aegis-metrics"]["ratio"]
        yield "metrics %s: on %.3f × off (CPU %.3f)" % (cell, ratio["requestsPerSecond"], ratio["cpuUsPerRequest"])
    for profile, (gateway, others) in PROFILES.items():
        parts = [part("aegis" if n == gateway else n, rows[n]) for n in (gateway, *others) if n in rows and n != base]
        if parts:
            yield "%s %s: %s" % (profile, cell, ", ".join(parts))
