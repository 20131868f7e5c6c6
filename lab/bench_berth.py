"""lab/bench_berth.py: berth as systems for lab/baseline.py --more: EROFS form, tree form, and the pipeline's limit; its memory."""
import pathlib
import random
import subprocess
import tempfile
import threading

import baseline
import content
import daemon as lab_daemon
import images
import registry


class Berth(baseline.System):
    """The daemon with its defaults and an empty store; `berth pull` is timed."""
    name, settings = "berth", {"log.level": "info"}

    def start(self):
        self.berthd = lab_daemon.Berthd(self.folder, settings={"plainHttp": [self.host]} | self.settings)
        if not self.berthd.start():
            raise RuntimeError(self.berthd.tail())
        self.daemon = self.berthd.process

    def stop(self):
        if self.daemon:
            self.berthd.close()

    def command(self, repo, tag):
        return self.berthd.command("pull", "-q", "--progress", "none", f"{self.host}/{repo}:{tag}")


class BerthTree(Berth):
    name, settings = "berth-tree", {"form": "tree", "log.level": "info"}


class Limit(baseline.System):
    """Download, both digests, inflate; nothing is written: what the pipeline costs at the least on these cores."""
    name = "limit"

    @classmethod
    def usable(cls):
        return cls._program().exists()

    @classmethod
    def _program(cls):
        return lab_daemon.ROOT / "build/release/bench/pull_limit"

    def command(self, repo, tag):
        return [str(self._program()), self.host, repo, tag]


SYSTEMS = [Berth, BerthTree, Limit]


class Watch:
    """The largest PSS of a daemon, and of it and its workers together, while this lives. PSS counts shared pages once.
    Reading it costs the kernel a walk through the page tables, so no timed run is watched."""
    def __init__(self, pid):
        self.pid, self.daemon, self.all, self.ended = pid, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _look(self):
        while not self.ended.wait(0.01):
            try:
                threads = pathlib.Path(f"/proc/{self.pid}/task").iterdir()  # a child belongs to the thread that made it
                children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
                sizes = [pss(pid) for pid in [self.pid, *children]]
            except OSError:  # a thread or a worker has ended
                continue
            self.daemon, self.all = max(self.daemon, sizes[0]), max(self.all, sum(sizes))


def pss(pid):
    """Bytes; 0 for a worker that is ending."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


MIB = 1 << 20


def memory(wanted):
    """Rows (what, MiB of the daemon, MiB with its workers, the limit that we hold ourselves to)."""
    rows = []
    layout = content.bench(*wanted)
    with registry.Registry() as source, tempfile.TemporaryDirectory(prefix="berth-memory-") as folder:
        def started(name):
            return lab_daemon.Berthd(pathlib.Path(folder) / name, settings={"plainHttp": [source.host], "log.level": "info"})
        for image in wanted:
            images.push(layout, source.url, "bench/" + image, image)
            with started(image) as berthd, Watch(berthd.process.pid) as watch:
                berthd.berth("pull", "-q", f"{source.host}/bench/{image}:{image}", check=True)
            rows.append((f"pull of {image}", watch.daemon / MIB, watch.all / MIB, "128 with workers"))
        many, rnd = images.Layout(pathlib.Path(folder) / "many"), random.Random(1)
        for i in range(32):
            layers = [many.layer(images.entries((f"{i}/{n}/noise", rnd.randbytes(2 * MIB)), (f"{i}/{n}/text", "text" * MIB))) for n in range(3)]
            many.tag(f"v{i}", many.image(layers))
            images.push(many, source.url, "many", f"v{i}")
        with started("many") as berthd:
            idle = pss(berthd.process.pid)
            rows.append(("idle, fresh", idle / MIB, idle / MIB, "40 idle"))
            with Watch(berthd.process.pid) as watch:
                pulls = [lab_daemon.spawn(berthd.command("pull", "-q", f"{source.host}/many:v{i}"), stdout=subprocess.DEVNULL) for i in range(32)]
                if any([pull.wait(600) for pull in pulls]):
                    raise RuntimeError(berthd.tail())
            rows.append(("32 pulls of 3 layers at once", watch.daemon / MIB, watch.all / MIB, "192 for the daemon"))
            idle = pss(berthd.process.pid)
            rows.append(("idle, after them", idle / MIB, idle / MIB, "40 idle"))
    return rows
