"""lab/bench_berth.py: berth as systems for lab/baseline.py --more: EROFS form, tree form, and the pipeline's limit."""
import os
import pathlib
import threading
import time

import baseline
import daemon as lab_daemon


class Berth(baseline.System):
    """The daemon with its defaults and an empty store; `berth pull` is timed."""
    name, settings = "berth", {}
    peaks = {}  # name -> largest sum of the PSS of daemon and workers, in MB, over all runs

    def start(self):
        self.berthd = lab_daemon.Berthd(self.folder, settings={"plainHttp": [self.host]} | self.settings)
        if not self.berthd.start():
            raise RuntimeError(self.berthd.tail())
        self.daemon = self.berthd.process
        self.watching = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self):
        """PSS counts pages that daemon and workers share once."""
        while not self.watching.wait(0.02):
            total = 0
            try:
                children = pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()
                for pid in [self.daemon.pid, *children]:
                    total += next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                                  if line.startswith("Pss:"))
            except (OSError, StopIteration, ValueError):
                continue
            Berth.peaks[self.name] = max(Berth.peaks.get(self.name, 0), total * 1024 / 1e6)

    def command(self, repo, tag):
        return self.berthd.command("pull", "-q", "--progress", "none", f"{self.host}/{repo}:{tag}")

    def stop(self):
        self.watching.set()
        self.watcher.join()
        super().stop()


class BerthTree(Berth):
    name, settings = "berth-tree", {"form": "tree"}


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
