# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Compares the four lists of libknell's calls: symbols.py ROOT LIBKNELL.SO NM

What knell.h, spawn.h and watcher.h declare, what the version map names, what the built library exports, and what the
manual pages of section 3 describe must be the same, and each call has one page. Speaks TAP.
"""
import glob
import os
import re
import subprocess
import sys


def declared(root):
    """The functions of the headers that are not defined in them."""
    text = ""
    for name in ("knell.h", "spawn.h", "watcher.h"):
        with open(os.path.join(root, "include/knell", name), encoding="utf-8") as header:
            text += header.read()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^static inline [^;{]*\{.*?^\}", " ", text, flags=re.S | re.M)
    text = re.sub(r"^\s*#.*$", " ", text, flags=re.M)
    return set(re.findall(r"\b(knell_\w+)\s*\([^()]*\)\s*;", text))


def mapped(root):
    with open(os.path.join(root, "lib/libknell.map"), encoding="utf-8") as version_map:
        return set(re.findall(r"^\s*(knell_\w+);", version_map.read(), re.M))


def exported(library, nm):
    """What a program can link to, whatever its name; the versions themselves are left out."""
    done = subprocess.run([nm, "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True,
                          check=True)
    names = {line.split()[-1] for line in done.stdout.splitlines() if line.split()[-2] != "A"}
    unversioned = {name for name in names if "@@KNELL_" not in name}
    return {name.partition("@")[0] for name in names}, unversioned


def described(root):
    """Calls that have an entry of their own in a page, functions defined in the header too."""
    calls = []
    for path in sorted(glob.glob(os.path.join(root, "man/*.3.scd"))):
        with open(path, encoding="utf-8") as page:
            calls += re.findall(r"^.*\*(knell_\w+)\*\(.*\)\s*;\s*$", page.read(), re.M)
    return set(calls), {call for call in calls if calls.count(call) > 1}


def main():
    root, library, nm = sys.argv[1:]
    in_header = declared(root)
    in_library, unversioned = exported(library, nm)
    in_pages, twice = described(root)
    results = [
        ("the headers declare calls", in_header, None),
        ("all that is exported has a version", unversioned, set()),
        ("the library exports what the headers declare", in_library, in_header),
        ("libknell.map names what the headers declare", mapped(root), in_header),
        ("the manual pages describe what the headers declare", in_pages & in_header, in_header),
        ("no call is described twice", twice, set()),
    ]
    print("1..%d" % len(results))
    for number, (name, got, wanted) in enumerate(results, 1):
        good = bool(got) if wanted is None else got == wanted
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
        if not good and wanted is not None:
            print("# only in the one: %s" % (sorted(got - wanted) or "none"))
            print("# only in the other: %s" % (sorted(wanted - got) or "none"))


if __name__ == "__main__":
    main()
