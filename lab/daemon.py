"""lab/daemon.py: a berthd of our own in a folder of its own, and its command line. Used by demo, crash and end-to-end tests.

    with Berthd(folder) as daemon:
        daemon.berth("pull", "127.0.0.1:5000/a:1")          # CompletedProcess; check=True raises with its stderr
        daemon.kill(); daemon.start()                       # kill -9, then up again on the same store
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = pathlib.Path(os.environ.get("BERTH_BIN", ROOT / "build/bin"))  # NAME, or NAME/NAME as in a build folder's src/apps
FAULTY = ROOT / "build/dev/src/apps"  # with fault points


def binary(name, faults=False):
    folder = FAULTY if faults else BINARIES
    path = folder / name / name if (folder / name).is_dir() else folder / name
    if not path.exists():
        raise SystemExit(f"{path} is not there: run ./dev build" + (" and ./dev test" if faults else ""))
    return str(path)


class Berthd:
    def __init__(self, folder, faults=False, settings=None, env=None, log=None):
        self.folder = pathlib.Path(folder)
        self.store, self.run, self.socket = self.folder / "store", self.folder / "run", self.folder / "run/berth.sock"
        self.faults, self.env, self.log_path = faults, dict(env or {}), pathlib.Path(log or self.folder / "berthd.log")
        self.settings = {"root": str(self.store), "runDir": str(self.run), "socket": str(self.socket), "listen.http": []} | (settings or {})
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, env=None, wait=True):
        """Starts it; with `wait` returns when its socket answers, False when it ended before that."""
        self.store.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        config.write_text(json.dumps({"apiVersion": "berth.dev/v1alpha1", "kind": "ImageDaemonConfiguration"} | self.settings))
        self.socket.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([binary("berthd", self.faults), "--config", str(config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=os.environ | self.env | (env or {}), process_group=0)
        return self.ready() if wait else None

    def ready(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(str(self.socket))
                return True
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(f"berthd does not answer: {self.tail()}")

    def tail(self, lines=20):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:]) if self.log_path.exists() else ""

    def stop(self, seconds=20):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode if self.process else None

    def kill(self):
        """kill -9 of the daemon and of all its workers, as a machine would lose them."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def command(self, *args):
        return [binary("berth", self.faults), "--socket", str(self.socket), *map(str, args)]

    def berth(self, *args, check=False, timeout=300, **more):
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **more)
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
            try:
                lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
                found[pid] = tuple(int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM"))
            except (OSError, KeyError):
                pass
        return found
