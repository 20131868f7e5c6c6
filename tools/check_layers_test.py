#!/usr/bin/env python3
"""The layer check must refuse: an undeclared edge, a foreign header, a cycle, an undeclared library."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_layers  # noqa: E402

GOOD = '[layers]\nlow = []\nhigh = ["low"]\n[owners]\n"curl/" = ["low"]\n'


def found(toml, files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "layers.toml").write_text(toml)
        for name, text in files.items():
            (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "src" / name).write_text(text)
        return list(check_layers.violations(root))


CASES = [
    ("declared edge", GOOD, {"high/a.cc": '#include "low/x.h"\n', "low/x.h": "#include <curl/curl.h>\n"}, 0),
    ("upward edge", GOOD, {"low/x.h": '#include "high/a.h"\n'}, 1),
    ("foreign header", GOOD, {"high/a.cc": "#include <curl/curl.h>\n"}, 1),
    ("undeclared library", GOOD, {"other/a.cc": "\n"}, 1),
    ("cycle", '[layers]\na = ["b"]\nb = ["a"]\n[owners]\n', {"a/x.h": "\n"}, 1),
]
failed = 0
for name, toml, files, want in CASES:
    got = found(toml, files)
    if len(got) != want:
        print(f"FAIL {name}: wanted {want}, got {got}")
        failed += 1
print(f"{len(CASES) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
