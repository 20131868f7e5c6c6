#!/usr/bin/env python3
"""House rules that a machine can check. Prints one line a violation and exits 1 if there was one."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# pattern -> what to do instead. Applies to src/, comments removed.
BANNED = {
    r"\busing namespace std\s*;": "name what you use",
    r"\b(system|popen)\s*\(": "host/process.h starts programs without a shell",
    r"\b(getpwnam|getpwuid|getgrnam|getgrgid)\w*\s*\(": "numeric ids only; no host user database",
    r"\bstrerror\s*\(": "result::FromErrno",
    r"(?<![\w.:>])realpath\s*\(": "resolve by descriptor (host/dir.h)",
    r"\bco_(await|yield|return)\b": "gcc 12 miscompiles coroutines (style 4.6)",
    r"\bstd::this_thread::sleep_": "time::Clock sleeps",
    r"\bstd::regex\b": "write the parser",
    r"\bcurl_easy_setopt\([^;]*CURLOPT_FOLLOWLOCATION,\s*1": "we follow redirects ourselves",
}
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


def problems():
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        where, text = path.relative_to(ROOT), path.read_text()
        if path.suffix == ".h":
            if not text.startswith(f"// {path.relative_to(ROOT / 'src')}: "):
                yield f"{where}:1: a header starts with its banner: // {path.relative_to(ROOT / 'src')}: what it is"
            if "#pragma once" not in text:
                yield f"{where}:1: #pragma once"
        code = COMMENT.sub(lambda m: "\n" * m.group().count("\n"), text)
        code = STRING.sub('""', code)
        for number, line in enumerate(code.splitlines(), 1):
            if len(line) > 140:
                yield f"{where}:{number}: longer than 140 columns"
            for pattern, instead in BANNED.items():
                if re.search(pattern, line):
                    yield f"{where}:{number}: {pattern}: {instead}"
            if path.name.endswith("_test.cc") and re.search(r"\b(u?sleep|nanosleep)\s*\(", line):
                yield f"{where}:{number}: a test never sleeps: inject a clock"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix == ".md" and path.exists():
            titles = [l for l in re.sub(r"```.*?```", "", path.read_text(), flags=re.S).splitlines() if l.startswith("# ")]
            if len(titles) != 1:
                yield f"{name}: one # title per document, found {len(titles)}"


found = list(problems())
print("\n".join(found) if found else "tidy: nothing found")
sys.exit(1 if found else 0)
