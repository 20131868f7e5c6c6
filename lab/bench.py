#!/usr/bin/env python3
"""lab/bench.py: ./dev bench [--images base,large,seven,zstd,small] [-n 5] [--systems …]: berth beside the others.

Everything that lab/baseline.py says about how it measures holds. Writes bench/RESULTS.md and bench/results.json.
"""
import json
import subprocess
import sys

import baseline
import bench_berth
import bench_cri
from daemon import ROOT


def main():
    args = sys.argv[1:]
    subprocess.run(["ninja", "-C", ROOT / "build/release", "--quiet", "pull_limit"], check=True)
    baseline.SYSTEMS += bench_berth.SYSTEMS
    out = ROOT / "bench/results.json"
    sys.argv = ["baseline.py", "--json", str(out), *args]
    baseline.main()
    kept = json.loads(out.read_text())
    cri = kept.get("cri")  # measured on its own
    facts, results = kept["machine"], kept["runs"]
    lines = ["# Pulls measured side by side", "",
             f"Made by `./dev bench {' '.join(args)}`".rstrip() + f" on {facts['time']}: {facts['cpu']}, {facts['cores']} cores, kernel {facts['kernel']}, "
             f"store on {kept['volume']}.", "", "; ".join(f"{k}: {v}" for k, v in facts["versions"].items()) + ".", "",
             "How it is measured: `lab/baseline.py --help`. x: containerd at its defaults divided by this. berth's wall time ends when the image is",
             "durable (its layers synced, its row committed); the others leave syncing to the kernel, see the column sync.", "",
             baseline.table(results), ""]
    lines += ["## Memory", "", "Largest PSS of one more pull each, unpacking in berth's own folder. A daemon holds its code's pages, too.", "",
              "| | daemon MiB | with its workers MiB | to stay under MiB |", "|---|---|---|---|"]
    lines += [f"| {what} | {own:.0f} | {every:.0f} | {limit} |" for what, own, every, limit in bench_berth.memory(list(results))] + [""]
    lines += bench_cri.section(cri) if cri else []
    (ROOT / "bench/RESULTS.md").write_text("\n".join(lines))
    print(f"written: {ROOT / 'bench/RESULTS.md'}")


if __name__ == "__main__":
    main()
