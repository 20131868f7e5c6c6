"""lab/daemon.py: a berthd of our own in a folder of its own, and its command line. Used by demo, crash and end-to-end tests.

    with Berthd(folder) as daemon:
        daemon.berth("pull", "127.0.0.1:5000/a:1")          # CompletedProcess; check=True raises with its stderr
        daemon.kill(); daemon.start()                       # kill -9, then up again on the same store

Each logs at level debug, and whatever it logs must not have, in any encoding, what the program has named by secret() (P7).

Whatever ends the program that uses this, no process, mount or cgroup stays: close() takes away what a failure has left, and is
called at exit; SIGTERM is an exit; and what was spawned by spawn() gets SIGTERM when the program is killed (after which
Berthd(folder).close() takes away its containers).
"""
import atexit
import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = pathlib.Path(os.environ.get("BERTH_BIN", ROOT / "build/bin")).resolve()  # NAME, or NAME/NAME as in a build folder's src/apps
FAULTY = ROOT / "build/dev/src/apps"  # with fault points
CLIENT = os.environ.get("BERTH_CLI")  # another berth than that of BERTH_BIN
SECRETS = {}  # {spelling: secret} of what no daemon of this program may log

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def spellings(text, user=""):
    """How a password, of a user, may be written."""
    raw = text.encode()
    found = [raw, json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode(), urllib.parse.quote(text, safe="").encode(),
             urllib.parse.quote(text).encode(), urllib.parse.quote_plus(text).encode(), raw.hex().encode(), raw.hex().upper().encode()]
    for data in (raw, f"{user}:{text}".encode()):
        found += [base64.b64encode(data).rstrip(b"="), base64.urlsafe_b64encode(data).rstrip(b"=")]
    return set(found)


def secret(text, user=""):
    """Says that it is one; returns it. What is shorter than 8 characters may be there by chance, and does not count."""
    if len(text) >= 8:
        SECRETS.update(dict.fromkeys(spellings(text, user), text))
    return text


def shown(data, among=None):
    """What is around the first secret (of those `among` them) in these bytes; None: there is none."""
    for spelling, text in list(SECRETS.items()):
        if (among is None or text in among) and (at := data.find(spelling)) >= 0:
            return data[max(0, at - 200):at + len(spelling)].decode(errors="replace")
    return None


def binary(name, faults=False, of=None):
    """A program of the product, or one of the tests' that the library `of` has."""
    if of:
        places = [apps.parent / of / name for apps in (BINARIES, FAULTY)]
    else:
        folder = FAULTY if faults else BINARIES
        places = [folder / name / name, folder / name]
    for path in places:
        if path.is_file():
            return str(path)
    raise SystemExit(f"{places[-1]} is not there: run ./dev build" + (" and ./dev test" if faults or of else ""))


def sanitized():
    """Whether the daemon is built for a sanitizer, whose own memory is no measure of ours."""
    data = pathlib.Path(binary("berthd")).read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


def spawn(argv, **more):
    """A Popen that does not outlive this program. (To be called by a thread that lives as long.)"""
    return subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *map(str, argv)], stdin=subprocess.DEVNULL, **more)


def end(process, seconds=20):
    """SIGTERM, then SIGKILL; its return code."""
    process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(30)


def wait(what, condition, seconds=60, tell=str):
    """What `condition` gives once that is true; after `seconds` an error with what `tell` knows."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > limit:
            raise RuntimeError(f"{what}: not within {seconds} s\n{tell()}")
        time.sleep(0.05)
    return found


def status(pid, *keys):
    """Numbers of /proc/PID/status; sizes in KiB."""
    lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return tuple(int(lines[key].split()[0]) for key in keys)


def cpu_of(pid):
    """CPU seconds of a live process and of its children that it has waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def machine_cpu():
    """CPU seconds that all processes together have had."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) / os.sysconf("SC_CLK_TCK")


def unmount_below(folder):
    """Unmounts everything below `folder`, the latest first."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{folder}/"):
            if subprocess.run(["umount", point], check=False, capture_output=True, timeout=60).returncode:
                subprocess.run(["umount", "-l", point], check=False, timeout=60)


def end_cgroup(folder):
    """Kills what is in it and below it, and removes it."""
    def gone(group):
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(RuntimeError):
            wait(f"{parent} is empty", lambda parent=parent: gone(pathlib.Path(parent)), 10)


class Berthd:
    """`within`: a command that ends by running what follows it, as the same process."""
    def __init__(self, folder, faults=False, settings=None, env=None, log=None, within=()):
        self.folder = pathlib.Path(folder)
        self.store, self.run, self.socket = self.folder / "store", self.folder / "run", self.folder / "run/berth.sock"
        self.faults, self.env, self.within, self.log_path = faults, dict(env or {}), within, pathlib.Path(log or self.folder / "berthd.log")
        self.settings = {"root": str(self.store), "runDir": str(self.run), "socket": str(self.socket), "listen.http": []} | (
            {} if "log" in (settings or {}) else {"log.level": "debug"}) | (settings or {})
        self.process = None

    def __enter__(self):
        if not self.start():
            raise RuntimeError(f"berthd does not start: {self.tail()}")
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, env=None, wait=True):
        """Starts it; with `wait` returns when its socket answers, False when it ended before that."""
        self.store.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        atexit.register(self.close)
        with open(self.log_path, "ab") as log:
            self.process = spawn([*self.within, binary("berthd", self.faults), "--config", self._configure()], stdout=log, stderr=log,
                                 env=os.environ | self.env | (env or {}), process_group=0)
        return self.ready() if wait else None

    def _configure(self):
        path = self.folder / "config.yaml"
        path.write_text(json.dumps({"apiVersion": "berth.dev/v1alpha1", "kind": "ImageDaemonConfiguration"} | self.settings))
        return path

    def ready(self, seconds=30):
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                return False
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(str(self.socket))
                return True
            except OSError:
                time.sleep(0.005)
        self.kill()
        raise RuntimeError(f"berthd does not answer: {self.tail()}")

    def reload(self, **settings):
        """SIGHUP, with other settings (None: without this one); returns when they are in force, or refused."""
        self.settings = {key: value for key, value in (self.settings | settings).items() if value is not None}
        self._configure()

        def said():  # the two ways in which a reload ends
            text = self.log_path.read_text(errors="replace")
            return text.count("settings read again") + text.count("the settings cannot be read")
        before = said()
        self.process.send_signal(signal.SIGHUP)
        wait("the settings are read again", lambda: said() > before, 30, self.tail)

    def tail(self, lines=20):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:]) if self.log_path.exists() else ""

    def stop(self):
        """SIGTERM; its return code."""
        code = self._end()
        self._log_shows_nothing()
        return code

    def _log_shows_nothing(self):
        if self.log_path.exists() and (found := shown(self.log_path.read_bytes())):
            raise AssertionError(f"{self.log_path} has a secret: {found}")

    def _end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode if self.process else None

    def kill(self):
        """kill -9 of the daemon and of all its workers, as a machine would lose them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def close(self):
        """Stops it for good. Containers outlive a daemon: those that a failed test has left are ended, and what they had goes."""
        atexit.unregister(self.close)
        self._end()
        for pid, command in self.shims().items():
            if " -- " in command:  # of the runtime, the container's id last
                words = command.split(" -- ", 1)[1].split()
                subprocess.run([words[0], "--root", self.run / "oci", "delete", "--force", words[-1]], capture_output=True, check=False, timeout=60)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for group in self.cgroups():
            end_cgroup(group)
            with contextlib.suppress(OSError):
                group.parent.rmdir()  # with the last one
        unmount_below(self.folder)
        self._log_shows_nothing()

    def shims(self):
        """{pid: command line} of the programs that stand beside containers."""
        found = {}
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "berth-shim" in command.split(" ")[0] and f"{self.folder}/" in command:
                    found[int(process.name)] = command
        return found

    def cgroups(self, uids=()):
        """Those of its Pods, which are named by UID: of those whose folders are there, and of `uids`."""
        names = {name.rsplit("_", 1)[-1] for place in ("pods", "logs") if (self.store / place).exists() for name in os.listdir(self.store / place)}
        return [pathlib.Path(parent) / group for parent, groups, _ in os.walk("/sys/fs/cgroup")  # which bears it that they go while it looks
                if os.path.basename(parent).startswith("berthd") for group in groups if group in names | set(uids)]

    def command(self, *args):
        return [CLIENT or binary("berth", self.faults), "--socket", str(self.socket), *map(str, args)]

    def berth(self, *args, check=False, timeout=300, **more):
        """Runs it, without input unless there is `input`."""
        more = {"stdin": subprocess.DEVNULL} | more if "input" not in more else more
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=timeout, **more)
        if check and done.returncode:
            raise RuntimeError(f"berth {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}\n{self.tail()}")
        return done

    def json(self, *args, **more):
        return json.loads(self.berth(*args, "-o", "json", check=True, **more).stdout)

    def memory(self):
        """{pid: (VmRSS, VmHWM)} in KiB of the daemon and its children."""
        found = {}
        pids = [self.process.pid] + [int(p) for p in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]
        for pid in pids:
            with contextlib.suppress(OSError, KeyError):
                found[pid] = status(pid, "VmRSS", "VmHWM")
        return found
