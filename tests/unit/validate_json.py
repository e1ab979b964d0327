#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Validates JSON Lines against Knell's schema.

validate_json.py SCHEMA PROGRAM [ARG...]   runs PROGRAM and validates its standard output
validate_json.py SCHEMA --file FILE...     validates files
validate_json.py SCHEMA --log FILE...      validates files of audit logs

Each line must be valid UTF-8 and valid against the schema; the last one, and no other, must be the
summary; a file of an audit log begins with a start line and may end in the middle of a run. Exit
status: 0 good, 1 not, 77 skipped because python3-jsonschema is missing.
"""

import json
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"a name occurs twice in {names}")
    return dict(pairs)


def validate(validator, where, data, log=False):
    """Returns how many lines were bad, and the kinds of event that were seen."""
    bad = 0
    kinds = []
    if not data.endswith(b"\n"):
        print(f"{where}: the last line has no end")
        bad += 1
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            record = json.loads(line.decode(), object_pairs_hook=no_duplicates)
        except ValueError as error:
            print(f"{where}:{number}: {error}: {line!r}")
            bad += 1
            continue
        kinds.append(record.get("knell.event"))
        for error in validator.iter_errors(record):
            print(f"{where}:{number}: {error.message}")
            bad += 1
    if log and kinds[0] != "start":
        print(f"{where}: the first line must be a start")
        bad += 1
    if not log and (kinds.count("summary") != 1 or kinds[-1] != "summary"):
        print(f"{where}: the last line, and no other, must be the summary")
        bad += 1
    return bad, set(kinds)


def check_strictness(validator):
    """A schema that accepts anything would make this test worthless."""
    bad = [
        {},
        {"knell.event": "nonsense"},
        {"knell.event": "summary"},
        {
            "timestamp": "2025-01-31T12:34:56.123456789Z",
            "knell.event": "summary",
            "knell.events": 1,
            "knell.lost": 0,
            "knell.reconciled": 0,
            "knell.surprise": 1,
        },
    ]
    return sum(validator.is_valid(record) for record in bad)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    cls = jsonschema.validators.validator_for(schema)
    cls.check_schema(schema)
    validator = cls(schema)
    if check_strictness(validator):
        print("the schema accepts what it must not")
        return 1
    if sys.argv[2] in ("--file", "--log"):
        results = []
        for path in sys.argv[3:]:
            with open(path, "rb") as file:
                results.append(validate(validator, path, file.read(), sys.argv[2] == "--log"))
    else:
        run = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, check=True)
        results = [validate(validator, sys.argv[2], run.stdout)]
        missing = set(schema["properties"]["knell.event"]["enum"]) - results[0][1]
        if sys.argv[2].endswith("emit_json") and missing:
            print(f"not tried: {sorted(missing)}")
            return 1
    return 1 if sum(bad for bad, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
