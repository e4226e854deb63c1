"""The machine: which cores to use, what a process has cost, and what to write down about it all."""
import os
import platform
import re
import resource
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def physical_cores():
    """Usable logical cores, one of each physical core first."""
    first, rest, seen = [], [], set()
    for core in sorted(os.sched_getaffinity(0)):
        siblings = read("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % core).strip() or str(core)
        (rest if siblings in seen else first).append(core)
        seen.add(siblings)
    return first, rest


def choose_cores():
    """(proxy's core, upstream's core, wrk's cores). With two cores, upstream and wrk share the second."""
    first, rest = physical_cores()
    cores = first if len(first) >= 2 else first + rest
    if len(cores) == 1:
        return cores[0], cores[0], [cores[0]]
    proxy, others = cores[-1], cores[:-1]
    if len(others) == 1:
        return proxy, others[0], others
    return proxy, others[-1], others[:-1][:2]


def pin(cores):
    """For a process about to start: these cores and, where that is allowed, before everything else on them."""
    os.sched_setaffinity(0, set(cores))
    os.setsid()                                 # a session has its own group in the scheduler, and that its own priority
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        with open("/proc/self/autogroup", "w", encoding="ascii") as f:
            f.write("-20")
    except OSError:
        pass                                    # not root, or no such groups: the notes tell what disturbed a run


def raise_descriptor_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def family(pid):
    """The process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        for task in os.listdir("/proc/%d/task" % p) if os.path.isdir("/proc/%d/task" % p) else []:
            todo += [int(c) for c in read("/proc/%d/task/%s/children" % (p, task)).split()]
    return found


def cpu_seconds(pid):
    """CPU time of a process and its descendants so far, threads that have ended included."""
    total = 0.0
    for p in family(pid):
        try:
            total += time.clock_gettime((~p << 3) | 2)          # clock_getcpuclockid(3): to the nanosecond, not to the tick
        except OSError:
            pass                                                # it has ended
    return total


def peak_memory_mib(pid):
    """Sum of the peak resident sizes of a process and its descendants."""
    peaks = [re.search(r"VmHWM:\s+(\d+)", read("/proc/%d/status" % p)) for p in family(pid)]
    return sum(int(m.group(1)) for m in peaks if m) / 1024.0


def busy_seconds(core):
    """Time a core has spent on anything at all (not counted: what the host took from it)."""
    line = re.search(r"^cpu%d (.*)$" % core, read("/proc/stat"), re.M)
    v = [int(x) for x in line.group(1).split()] if line else [0] * 10
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICK          # user, nice, system, irq, softirq


def output(*command):
    try:
        r = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        return r.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def commit(root):
    """Short id of the checkout's commit, marked when files differ from it; None outside of one."""
    found = output("git", "-C", root, "describe", "--always", "--dirty", "--exclude", "*")
    return found if re.fullmatch(r"[0-9a-f]+(-dirty)?", found) else None


def describe(binary, root, cores):
    """What a reader of the numbers must know."""
    model = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    proxy, upstream, load = cores
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "pinned": {"proxy": proxy, "upstream": upstream, "wrk": load},
        "kernel": platform.release(),
        "loadAverage": os.getloadavg()[0],
        "commit": commit(root),
        "versions": {
            "aegis": output(binary, "--version") if binary else None,
            "nginx": output("nginx", "-v").rpartition("/")[2],
            "haproxy": (re.search(r"version (\S+)", output("haproxy", "-v")) or [None, None])[1],
            "wrk": (re.search(r"wrk (\S+)", output("wrk", "-v")) or [None, None])[1],
        },
    }
