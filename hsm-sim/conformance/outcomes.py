"""The outcome of each test in a JUnit file of pytest, a line each, sorted: python3 outcomes.py FILE"""

import sys
import xml.etree.ElementTree as tree


def outcome(case):
    for kind in ("error", "failure"):
        if case.find(kind) is not None:
            return "failed"
    skipped = case.find("skipped")
    if skipped is not None:
        return "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
    return "passed"


cases = [case for case in tree.parse(sys.argv[1]).iter("testcase")]
names = [(case.get("classname") or "").rsplit("testcases.", 1)[-1] + "::" + case.get("name") for case in cases]
for line in sorted(name + " " + outcome(case) for name, case in zip(names, cases)):
    # A parameter may hold anything.
    print(line.encode("unicode_escape").decode())
