# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""KNELL_WATCHER() in every way of compiling: watchers.py SOURCE INCLUDE LIBFOLDER ARCHIVE CC CXX CLANG CLANGXX

Compiles the program of this folder by each compiler, at each level of optimization, and links it in
each way; runs it, and compares what it says: how many watchers, in which order, which were called,
and that their section is read-only. Also what must not compile. LIBFOLDER has libknell.so, ARCHIVE
is the same as static objects. Empty compilers are skipped. Speaks TAP.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
STATIC_LIBRARIES = ["-lbpf", "-lelf", "-lz", "-lurcu-bp", "-lurcu-cds", "-lurcu-common", "-lpthread"]
LEVELS = ["-O0", "-O1", "-O2", "-O3"]
LIMIT = 120  # seconds, for each command

ALL = """\
joined: 13
init: zebra
clone: first
exec: aardvark first
uid: first
exit: first never aardvark zebra filtered last
free: first
gap: first
called: first aardvark zebra filtered last
section: read-only
"""
# What is left of it where the linker took no file that nobody refers to.
LOST = (ALL.replace("joined: 13", "joined: 11").replace(" aardvark", ""))

# How: (options of compiling, options of linking)
WAYS = {
    "pie": (["-fPIE"], ["-pie"]),
    "no pie": (["-fno-pie"], ["-no-pie"]),
    "static": (["-fno-pie"], ["-static"]),
    "static pie": (["-fPIE"], ["-static-pie"]),
    "gc-sections": (["-fPIE", "-ffunction-sections", "-fdata-sections"], ["-pie", "-Wl,--gc-sections"]),
    "lto": (["-flto"], ["-flto"]),
    "asan": (["-fsanitize=address"], ["-fsanitize=address"]),
    "shared": (["-fPIC"], []),
    "whole archive": (["-fPIE"], ["-pie"]),
    "c++": (["-fPIE"], ["-pie"]),
}
ARCHIVE = "archive"  # not linked whole
OPTIONS = {**WAYS, ARCHIVE: WAYS["pie"]}
WRONG = {
    "a misspelt event": "KNELL_WATCHER(exti, on_exit);",
    "a function of another type": "KNELL_WATCHER(exit, puts);",
    "no function": "KNELL_WATCHER(exit, NULL);",
    "a priority that is not constant": "extern int x; KNELL_WATCHER_PRIORITY(exit, on_exit, x);",
}
WRONG_HEAD = """\
#include <knell/watcher.h>
#include <stdio.h>
int on_exit_watcher(const struct knell_event *event, void *userdata);
"""


class Failed(Exception):
    """What a command complained of."""


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, check=False, timeout=LIMIT, **more)
    if done.returncode:
        raise Failed("%s\nexit status %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


class Bench:
    """Where things are, and how to make the program of them."""

    def __init__(self, source, include, library, archive):
        self.source, self.include, self.library, self.archive = source, include, library, archive

    def path(self, name):
        return os.path.join(self.source, name)

    def compile(self, compiler, way, level, scratch, language):
        standard = ["-x", "c++", "-std=c++11"] if language == "c++" else ["-std=gnu99"]
        objects = {}
        for name in ("main", "here", "there"):
            objects[name] = os.path.join(scratch, name + ".o")
            run([*compiler, *STRICT, *standard, level, *OPTIONS[way][0], "-I", self.include, "-c",
                 self.path(name + ".c"), "-o", objects[name]])
        return objects

    def link(self, compiler, way, level, scratch, objects, linker):
        """The program."""
        program = os.path.join(scratch, "program")
        options = [level, *OPTIONS[way][1], *linker]
        inputs = list(objects.values())
        if way == "shared":
            shared = os.path.join(scratch, "libwatchers.so")
            run([*compiler, *linker, "-shared", objects["here"], objects["there"], "-o", shared,
                 "-L", self.library, "-lknell"])
            inputs = [objects["main"], shared, "-Wl,-rpath," + scratch]
        elif way.endswith("archive"):
            archive = os.path.join(scratch, "libwatchers.a")
            run(["ar", "rcs", archive, objects["here"], objects["there"]])
            whole = ["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"]
            inputs = [objects["main"], *(whole if way == "whole archive" else [archive])]
        if "static" in way:
            libraries = [self.archive, *STATIC_LIBRARIES]
        else:
            libraries = ["-L", self.library, "-lknell", "-Wl,-rpath," + self.library]
        run([*compiler, *options, *inputs, *libraries, "-o", program])
        return program

    def case(self, compiler, way, level, language, linker, expected):
        """Raises Failed."""
        scratch = tempfile.mkdtemp(prefix="knell-watchers.")
        try:
            objects = self.compile(compiler, way, level, scratch, language)
            program = self.link(compiler, way, level, scratch, objects, linker)
            # Leaks are others' business: what is looked for needs ptrace(2).
            said = run([program], env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        finally:
            shutil.rmtree(scratch)
        if said != expected:
            raise Failed("it said:\n%sand not:\n%s" % (said, expected))

    def refuses(self, compiler, text):
        """Raises Failed if it compiles, or if it does not when it is right."""
        command = [*compiler, *STRICT, "-fPIC", "-I", self.include, "-x", "c", "-", "-c", "-o",
                   "/dev/null"]
        text = WRONG_HEAD + text.replace("on_exit", "on_exit_watcher") + "\n"
        done = subprocess.run(command, input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=LIMIT)
        if done.returncode == 0:
            raise Failed("it compiled:\n" + text)


def cases(bench, compilers):
    """Yields (name, function, arguments)."""
    for kind, (compiler, cxx) in compilers.items():
        lld = ["-fuse-ld=lld"] if shutil.which("ld.lld") else None
        for way in WAYS:
            plain = lld if kind == "clang" and way == "lto" else []
            for level in LEVELS:
                name = "%s %s, %s" % (kind, level, way)
                used = cxx if way == "c++" else compiler
                language = "c++" if way == "c++" else "c"
                if not used or plain is None:
                    yield name + " # SKIP no compiler or linker for it", None, ()
                else:
                    yield name, bench.case, (used, way, level, language, plain, ALL)
        if not compiler:
            continue
        for way in ("pie", "gc-sections", "shared"):
            name = "%s -O2, %s, lld" % (kind, way)
            if lld:
                yield name, bench.case, (compiler, way, "-O2", "c", lld, ALL)
            else:
                yield name + " # SKIP no lld", None, ()
        yield ("%s -O2, archive that is not linked whole: the count tells" % kind, bench.case,
               (compiler, ARCHIVE, "-O2", "c", [], LOST))
        for name, text in WRONG.items():
            yield "%s refuses %s" % (kind, name), bench.refuses, (compiler, text)


def attempt(function, arguments):
    try:
        if function:
            function(*arguments)
    except (Failed, subprocess.TimeoutExpired) as failure:
        return str(failure)
    return ""


def main():
    source, include, library, archive, *commands = sys.argv[1:]
    commands = [command.split() for command in commands]
    bench = Bench(source, include, library, archive)
    compilers = {"gcc": commands[:2], "clang": commands[2:]}
    todo = list(cases(bench, compilers))
    print("1..%d" % len(todo), flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda case: attempt(*case[1:]), todo)
        for number, ((name, *_), complaint) in enumerate(zip(todo, results), 1):
            print("%s %d - %s" % ("not ok" if complaint else "ok", number, name), flush=True)
            for line in complaint.splitlines():
                print("# " + line)


if __name__ == "__main__":
    main()
