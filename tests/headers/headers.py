# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Compiles what users compile: headers.py ROOT CC CXX CLANG CLANGXX

Each public header alone and twice, in the dialects that it promises, without a warning, also of
those that C++ programs like to ask for; event.h for BPF as well; and the C programs that README.md
shows. CXX, CLANG and CLANGXX may be empty: then their cases are skipped. Speaks TAP.
"""
import os
import re
import subprocess
import sys

STRICT = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wundef", "-x"]
DIALECTS = [
    ("c", "c99", ["-pedantic", "-Wshadow"]),
    ("c", "gnu17", []),
    ("c++", "c++11", ["-pedantic", "-Wshadow", "-Wold-style-cast"]),
    ("c++", "c++17", ["-pedantic", "-Wshadow", "-Wold-style-cast"]),
]


# What our macros and functions make in a program.
USES = """\
#include <knell/spawn.h>
#include <knell/watcher.h>
int status_of(unsigned int word);
int status_of(unsigned int word)
{
	return word & KNELL_WORD_DEAD ? KNELL_WORD_STATUS(word) : KNELL_SIGNAL(3) != 0;
}
static int on_exec(const struct knell_event *event, void *userdata)
{
	return userdata && KNELL_MASK(event->kind) ? *knell_exec_args(event) : 0;
}
KNELL_WATCHER(exec, on_exec);
"""


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


def cases(root, cc, cxx, clang, clangxx):
    """Yields (name, compiler, options, text)."""
    include = ["-I", os.path.join(root, "include")]
    headers = sorted(name for name in os.listdir(os.path.join(root, "include/knell"))
                     if name.endswith(".h"))
    texts = {header: 2 * ("#include <knell/%s>\n" % header) for header in headers}
    texts["a program"] = USES
    for header, text in texts.items():
        for language, dialect, more in DIALECTS:
            both = (("", cxx), (", clang++", clangxx)) if language == "c++" else (("", cc),)
            for by, compiler in both:
                yield ("%s as %s%s" % (header, dialect, by), compiler,
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
