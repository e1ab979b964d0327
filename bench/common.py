# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What the benchmarks share: runs with a limit, storms, observers, pairs, medians and targets."""
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TRACEFS = "/sys/kernel/tracing"
LIMIT = 120  # seconds, for anything that is run once
QUIET_CPU = 0.001  # seconds of CPU in QUIET_STEP: a process that uses less does nothing
QUIET_STEP = 0.1
QUIET_STEPS = 4
SETTLE_LIMIT = 3  # seconds; where the machine is busy, observers never become quiet


# A shell ignores it in what it starts in the background, and observers that inherit this could not
# be told to end.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Failed(Exception):
    """One run did not do what it should."""


def wait(process, limit=LIMIT):
    """Like wait4(2), with a limit: the exit status and the CPU seconds used."""
    end = time.monotonic() + limit
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        if time.monotonic() > end:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -signal.SIGKILL
            raise Failed("%s did not end within %d s" % (process.args[0], limit))
        time.sleep(0.001)


def cpu_seconds(pid):
    """User and system time of a process that lives, all its threads."""
    total = 0
    try:
        for tid in os.listdir("/proc/%d/task" % pid):
            # As utime and stime in stat, but in ns instead of ticks of 10 ms.
            with open("/proc/%d/task/%s/schedstat" % (pid, tid), encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9
    except FileNotFoundError:
        pass
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError as error:
        raise Failed("process %d ended by itself" % pid) from error


def written(pid):
    """Bytes that a process has written so far, to wherever."""
    with open("/proc/%d/io" % pid, encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file)["wchar"])


def settle(process, least=0.5):
    """Waits until it does nothing more: it has started up, or has digested all that happened."""
    start = time.monotonic()
    before, quiet = cpu_seconds(process.pid), 0
    while quiet < QUIET_STEPS or time.monotonic() < start + least:
        if time.monotonic() > start + SETTLE_LIMIT:
            return
        time.sleep(QUIET_STEP)
        now = cpu_seconds(process.pid)
        quiet = quiet + 1 if now - before < QUIET_CPU else 0
        before = now


class Result:
    """One run: a rate (higher is better), the observer's own CPU seconds, and its events."""

    def __init__(self, rate, own_cpu=None, events=None, lost=0, storm_cpu=None):
        self.rate = rate
        self.storm_cpu = storm_cpu
        self.own_cpu = own_cpu
        self.events = events
        self.lost = lost


class Storm:
    """A storm of short-lived processes; its rate is what it says itself."""

    def __init__(self, bench, name, arguments, count, events_each):
        self.bench = bench
        self.name = name
        self.unit = "forks/s"
        self.command = [bench.program("storm"), "-n", str(count), *arguments]
        self.events = count * events_each
        self.idle = [bench.program("storm"), "-n", "1", *arguments]

    def run(self, prefix):
        return self._run(prefix, self.command)

    def run_idle(self, prefix):
        return self._run(prefix, self.idle)

    def _run(self, prefix, command):
        with tempfile.TemporaryFile() as output:
            # Reports and traces are made, and thrown away.
            process = subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=subprocess.DEVNULL)
            status, cpu = wait(process)
            output.seek(0)
            words = output.read().decode().split()
        said = dict(word.split("=") for word in words if "=" in word)
        if status or "rate" not in said:
            raise Failed("%s: exit status %d" % (" ".join([*prefix, *command]), status))
        return Result(float(said["rate"]), cpu - float(said["cpu"]), self.events,
                      storm_cpu=float(said["cpu"]))


def storms(bench, count):
    """The storms that all benchmarks know, by name: functions that make them."""
    return {
        "fork1": lambda: Storm(bench, "fork1", [], count, 2),
        "fork2": lambda: Storm(bench, "fork2", ["-j", "2"], count, 2),
        "exec1": lambda: Storm(bench, "exec1", ["--exec", bench.program("tiny")], count // 4, 3),
    }


class Prefix:
    """An observer that starts the command."""

    def __init__(self, name, prefix):
        self.name = name
        self.command = prefix

    def run(self, workload):
        return workload.run(self.command)

    def start_up(self, workload):
        """CPU seconds that are the start's, and not the events'."""
        return workload.run_idle(self.command).own_cpu


class Background:
    """An observer of the whole machine that runs beside the workload; its output is thrown away."""

    def __init__(self, name, command):
        self.name = name
        self.command = command

    def start(self, stderr=subprocess.DEVNULL):
        command = self.command
        if not os.path.exists(TRACEFS + "/events") and os.geteuid() == 0:
            # Most need it, and do not mount it; nobody else is to see that it is mounted.
            command = ["unshare", "-m", "sh", "-c",
                       "mount -t tracefs none %s && exec \"$@\"" % TRACEFS, "sh", *command]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=stderr)

    def run(self, workload):
        with tempfile.TemporaryFile() as stderr:
            process = self.start(stderr)
            try:
                settle(process)
                before = cpu_seconds(process.pid), written(process.pid)
                result = workload.run([])
                settle(process, 0)
                after = cpu_seconds(process.pid), written(process.pid)
            except (Failed, OSError) as error:
                stderr.seek(0)
                last = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise Failed("%s: %s %s" % (self.name, error, last)) from error
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGINT)
                    wait(process, 20)
            stderr.seek(0)
            events, lost = self.count(stderr.read().decode(errors="replace"), before[1],
                                      after[1], result.events)
        return Result(result.rate, after[0] - before[0], events, lost, result.storm_cpu)

    def count(self, _said, _written_before, _written_after, of_storm):
        """How many events the CPU time of the run went to, and how many were lost."""
        return of_storm, 0

    def start_up(self, _workload):
        return 0

    def refusal(self):
        """Why it does not work here; None if it does."""
        if not shutil.which(self.command[0]):
            return "it is not installed"
        with tempfile.TemporaryFile() as stderr:
            process = self.start(stderr)
            try:
                settle(process)
            except (Failed, OSError):
                wait(process, 20)
            else:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    wait(process, 20)
                    return None
            stderr.seek(0)
            said = stderr.read().decode(errors="replace").strip()
        complaints = [line for line in said.splitlines() if re.search("rror|fail|not", line)]
        reason = complaints[0] if complaints else "exit status %d" % process.returncode
        return "it ends by itself: %s" % reason.strip()


class Trace(Background):
    """knell trace, which says at its end how many events it told."""

    def count(self, said, written_before, written_after, of_storm):
        found = re.search(r"([\d,]+) events, ([\d,]+) lost", said)
        if not found:
            raise Failed("%s gave no summary: %s" % (self.name, said.strip()))
        events, lost = (int(number.replace(",", "")) for number in found.groups())
        # Those of its start-up are not the storm's: its output tells their share.
        return int(events * (1 - written_before / max(written_after, 1))), lost


def peers(perf_data="/dev/null"):
    """Observers that others made, as Debian has them."""
    return [
        Background("forkstat", ["forkstat", "-e", "fork,exec,exit"]),
        Background("exitsnoop", ["exitsnoop"]),
        Background("execsnoop", ["execsnoop"]),
        Background("bpftrace", [
            "bpftrace", "-e",
            "tracepoint:sched:sched_process_fork { printf(\"%d %d\\n\", pid, args->child_pid); } "
            "tracepoint:sched:sched_process_exec { printf(\"%d\\n\", pid); } "
            "tracepoint:sched:sched_process_exit { printf(\"%d\\n\", pid); }"]),
        Background("perf", [
            "perf", "record", "-q", "-a", "-o", perf_data, "-e",
            "sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit"]),
    ]


STRACE = ["strace", "-f", "-e", "trace=process", "-o", "/dev/null"]


def that_work(observers):
    """Those of them that work here; says why others are left out."""
    for observer in observers:
        if isinstance(observer, Prefix):
            reason = None if shutil.which(observer.command[0]) else "it is not installed"
        else:
            reason = observer.refusal()
        if reason:
            print("%s: left out, %s" % (observer.name, reason))
        else:
            yield observer


class Bench:
    """A build, and where its programs are."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.knell = os.path.join(self.build, "cli/knell")
        for needed in (self.knell, self.program("storm"), self.program("tiny")):
            if not os.access(needed, os.X_OK):
                sys.exit("%s: %s is missing; build first" % (sys.argv[0], needed))

    def program(self, name):
        return os.path.join(self.build, "tests/integration/programs", name)


# ---- figures ----

def median_interval(values):
    """The median and an interval that holds it with 90 %, by resampling; always the same."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values)))
                     for _ in range(2000))
    return statistics.median(values), medians[100], medians[1899]


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class Target:
    """A figure that has to be reached; met or missed only where noise cannot turn it around."""

    def __init__(self, what, values, bound, at_least=True):
        middle, low, high = median_interval(values)
        if at_least:
            word = "met" if low >= bound else "missed" if high < bound else "undecided"
        else:
            word = "met" if high <= bound else "missed" if low > bound else "undecided"
        self.figures = {"what": what, "median": middle, "low": low, "high": high,
                        "bound": "%s %.3g" % (">=" if at_least else "<=", bound), "word": word}

    def __str__(self):
        return target_line(self.figures)


def target_line(figures):
    return "%-58s %8.3g %-18s %-8s %s" % (
        figures["what"], figures["median"], "[%.3g..%.3g]" % (figures["low"], figures["high"]),
        figures["bound"], figures["word"])


def print_targets(targets):
    print("\nTargets: the median, and the interval that it lies in with 90 %")
    for target in targets:
        print("  %s" % target)


def write_json(path, tables, targets):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"tables": tables, "targets": [target.figures for target in targets]}, file,
                  indent=1)


# ---- pairs ----

def room_for_pids():
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        pid_max = int(file.read())
    with open("/proc/loadavg", encoding="ascii") as file:
        tasks = int(file.read().split()[3].split("/")[1])
    if tasks > pid_max // 2:
        sys.exit("%s: %d of %d pids are in use; no storm here" % (sys.argv[0], tasks, pid_max))


def progress(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)


def measure(workload, observers, pairs):
    """One dictionary per observer: ratios, bare rates, rates, own CPU us per event, losses."""
    rows = {observer.name: {"ratio": [], "cpu_ratio": [], "bare": [], "rate": [], "cpu": [],
                            "lost": 0}
            for observer in observers}
    bare = Prefix("bare", [])
    for pair in range(pairs):
        for observer in observers:
            row = rows[observer.name]
            order = [bare, observer] if pair % 2 == 0 else [observer, bare]
            results = {}
            for side, who in enumerate(order):
                room_for_pids()
                progress("%s: pair %d of %d, %s %d/2" % (workload.name, pair + 1, pairs,
                                                         observer.name, side + 1))
                # The null pair's two sides are told apart by their places.
                results["bare" if who is bare else "observed"] = who.run(workload)
            row["bare"].append(results["bare"].rate)
            row["rate"].append(results["observed"].rate)
            row["ratio"].append(results["observed"].rate / results["bare"].rate)
            if results["bare"].storm_cpu:
                row["cpu_ratio"].append(results["bare"].storm_cpu / results["observed"].storm_cpu)
            row["lost"] += results["observed"].lost
            own = results["observed"].own_cpu
            if own is not None and results["observed"].events:
                own -= observer.start_up(workload)
                row["cpu"].append(own * 1e6 / results["observed"].events)
    progress("")
    return rows


def print_table(workload, rows):
    print("\n%s, %s" % (workload.name, " ".join(workload.command)))
    print("  %-10s %10s %10s   %-22s %-22s %s" % (
        "observer", "bare", workload.unit, "ratio [p25..p75]", "by CPU [p25..p75]",
        "own CPU us/event"))
    for name, row in rows.items():
        low, high = quartiles(row["ratio"])
        cpu = ""
        if row["cpu"] and name != "null":
            cpu = "%.2f [%.2f..%.2f]" % (statistics.median(row["cpu"]), *quartiles(row["cpu"]))
        by_cpu = ""
        if row["cpu_ratio"]:
            by_cpu = "%.3f [%.3f..%.3f]" % (statistics.median(row["cpu_ratio"]),
                                            *quartiles(row["cpu_ratio"]))
        print("  %-10s %10.4g %10.4g   %-22s %-22s %s" % (
            name, statistics.median(row["bare"]), statistics.median(row["rate"]),
            "%.3f [%.3f..%.3f]" % (statistics.median(row["ratio"]), low, high), by_cpu, cpu))
    for name, row in rows.items():
        if row["lost"]:
            print("  %s lost %d events" % (name, row["lost"]))
    _, low, high = median_interval(rows["null"]["ratio"])
    if not low <= 1.0 <= high:
        print("  the null pair is not 1: this machine is too restless to believe small differences")
    sys.stdout.flush()


def describe_machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    print("Linux %s, %d CPUs%s, load %.1f before" % (
        os.uname().release, len(os.sched_getaffinity(0)),
        " (%s)" % models[0] if models else "", os.getloadavg()[0]))
    sys.stdout.flush()


def chosen(names, known, what):
    """The values of `known` with these names, separated by commas."""
    for name in names.split(","):
        if name not in known:
            sys.exit("%s: no %s is called %s" % (sys.argv[0], what, name))
        if name == "fork2" and len(os.sched_getaffinity(0)) < 2:
            print("fork2: skipped, there is only one CPU")
        else:
            yield known[name]()
