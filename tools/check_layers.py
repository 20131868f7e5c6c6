#!/usr/bin/env python3
"""Refuses any include that layers.toml does not declare, any foreign header outside its owner, and any cycle.

usage: check_layers.py [ROOT]     (default: the folder above tools/)
Prints one line a violation, `file:line: 'lib' may not include '…'`, and exits 1 if there was one.
"""
import pathlib
import re
import sys
import tomllib

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def cycle(edges):
    done, path = set(), []

    def visit(lib):
        if lib in path:
            return path[path.index(lib):] + [lib]
        if lib in done:
            return None
        path.append(lib)
        for to in edges.get(lib, []):
            found = visit(to)
            if found:
                return found
        path.pop()
        done.add(lib)
        return None

    for lib in edges:
        found = visit(lib)
        if found:
            return found
    return None


def violations(root):
    table = tomllib.loads((root / "layers.toml").read_text())
    edges, owners = table["layers"], table["owners"]
    loop = cycle({lib: [t for t in to if t != "*"] for lib, to in edges.items()})
    if loop:
        yield "layers.toml: cycle: " + " -> ".join(loop)
    for lib, targets in edges.items():
        for to in targets:
            if to != "*" and to not in edges:
                yield f"layers.toml: '{lib}' names '{to}', which is no library"
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        lib = path.relative_to(root / "src").parts[0]
        where = path.relative_to(root)
        if lib not in edges:
            yield f"{where}:1: '{lib}' is not declared in layers.toml"
            continue
        # Test doubles (X/testing/) may be used by anybody's tests.
        test = path.name.endswith(("_test.cc", "_fuzz.cc", "_bench.cc")) or "testing" in path.parts
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, name = match.groups()
            target = name.split("/")[0]
            if quote == '"':
                if target == lib or "*" in edges[lib] or target in edges[lib]:
                    continue
                if name.endswith((".pb.h",)) or (test and "/testing/" in name):
                    continue
                yield f"{where}:{number}: '{lib}' may not include '{name}'"
            else:
                for prefix, allowed in owners.items():
                    if name.startswith(prefix) and lib not in allowed and not test:
                        yield f"{where}:{number}: '{lib}' may not include <{name}>: it belongs to {allowed}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    found = list(violations(root))
    print("\n".join(found) if found else "layers: every include is declared")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
