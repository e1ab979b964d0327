# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Compiles what users compile: headers.py ROOT CC CXX CLANG

Each public header alone and twice, in the dialects that it promises, without a warning; event.h for
BPF as well; and the C programs that README.md shows. CXX and CLANG may be empty: then their cases
are skipped. Speaks TAP.
"""
import os
import re
import subprocess
import sys

STRICT = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wundef", "-x"]
DIALECTS = [
    ("c", "c99", ["-pedantic"]),
    ("c", "gnu17", []),
    ("c++", "c++11", ["-pedantic"]),
    ("c++", "c++17", ["-pedantic"]),
]


def compile_text(compiler, options, text):
    """What the compiler complains of; empty if all is well."""
    done = subprocess.run([*compiler, *options, "-"], input=text, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout or (done.returncode and "exit status %d" % done.returncode) or ""


def multiarch(compiler):
    """Where <asm/...> is, which clang does not know when it compiles for BPF."""
    done = subprocess.run([*compiler, "-print-multiarch"], stdout=subprocess.PIPE, text=True,
                          check=False)
    return "/usr/include/" + done.stdout.strip()


def cases(root, cc, cxx, clang):
    """Yields (name, compiler, options, text)."""
    include = ["-I", os.path.join(root, "include")]
    headers = sorted(name for name in os.listdir(os.path.join(root, "include/knell"))
                     if name.endswith(".h"))
    for header in headers:
        text = 2 * ("#include <knell/%s>\n" % header)
        for language, dialect, more in DIALECTS:
            compiler = cxx if language == "c++" else cc
            yield ("%s as %s" % (header, dialect), compiler,
                   [*STRICT, language, "-std=" + dialect, *more, *include], text)
    yield ("event.h for BPF", clang,
           ["-target", "bpf", *STRICT, "c", *include, "-idirafter", multiarch(cc)],
           "#include <knell/event.h>\nstruct knell_event event;\n")
    with open(os.path.join(root, "README.md"), encoding="utf-8") as readme:
        blocks = re.findall(r"^```c\n(.*?)^```", readme.read(), re.S | re.M)
    for number, block in enumerate(blocks, 1):
        yield ("README.md, program %d" % number, cc, [*STRICT, "c", "-std=gnu17", *include], block)


def main():
    root, *compilers = sys.argv[1:]
    todo = list(cases(root, *[command.split() for command in compilers]))
    print("1..%d" % len(todo))
    for number, (name, compiler, options, text) in enumerate(todo, 1):
        if not compiler:
            print("ok %d - %s # SKIP no compiler for it" % (number, name))
            continue
        complaint = compile_text(compiler, options, text)
        print("%s %d - %s" % ("not ok" if complaint else "ok", number, name))
        for line in complaint.splitlines():
            print("# " + line)


if __name__ == "__main__":
    main()
