"""Make the CMake files of the ROS wheels fit this machine.

The wheels name the include folders of the machine that built them. This replaces them,
in the `share/` folder of the venv that runs this script, by this interpreter's and this
numpy's. Safe to run again: what is replaced once is not found a second time.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import numpy

BUILDER_ROOT = "/opt/python/cp311-cp311"


def replacements() -> dict[str, str]:
    """What to replace, longest first."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return {
        f"{BUILDER_ROOT}/lib/{version}/site-packages/numpy/_core/include": numpy.get_include(),
        f"{BUILDER_ROOT}/include/{version}": sysconfig.get_paths()["include"],
    }


def main() -> int:
    """Patch every CMake file below the venv's share/; say how many changed."""
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        print(
            f"There is no {include / 'Python.h'}: the messages cannot be built. Install the "
            "headers of this Python (Debian and Ubuntu: python3.11-dev) or choose another "
            "one with PYTHON=…",
            file=sys.stderr,
        )
        return 2
    changed = 0
    for path in Path(sys.prefix, "share").rglob("*.cmake"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        patched = text
        for old, new in replacements().items():
            patched = patched.replace(old, new)
        if patched != text:
            path.write_text(patched, encoding="utf-8", errors="surrogateescape")
            changed += 1
    print(f"patched {changed} CMake files of the ROS wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
