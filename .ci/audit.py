"""Look for known weaknesses of the versions in a lock file, where the list of them can be reached.

Run as ``python .ci/audit.py requirements.lock``. Ends with 1 where a version has a known weakness. Where the list
cannot be reached, as behind a mirror of the package index, it says so and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

LIST = "https://pypi.org/pypi/pip/20.0/json"
"""Of a version that has known weaknesses: an answer without any is not that of the index itself."""
SECONDS = 5


def why_not() -> str | None:
    """What keeps the list from being read; None where it can be."""
    try:
        with urllib.request.urlopen(LIST, timeout=SECONDS) as answer:
            told = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None if isinstance(told, dict) and told.get("vulnerabilities") else "the index answers without the list"


def main() -> int:
    """Audit; the exit code."""
    lock = sys.argv[1]
    reason = why_not()
    if reason is not None:
        sys.stderr.write(
            f"\n*** NOT AUDITED: {LIST} cannot be read ({reason}).\n"
            f"*** Nothing is known of weaknesses in {lock}; run make lint where the package index can be reached.\n\n"
        )
        return 0
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        lock,
        "--require-hashes",
        "--disable-pip",
        "--strict",
    ]
    return subprocess.run([*command, "--progress-spinner", "off"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
