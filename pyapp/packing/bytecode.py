"""Python as the phone gets it: compiled, without sources, by the very Python that will run it.

`unchecked-hash` (PEP 552) because there is no source to compare with, and times would differ from build to build.
Compiling on the phone instead would cost seconds at every start from a folder that can't be written.
"""

import py_compile
from pathlib import Path


def compile_tree(root: Path) -> None:
    """Put a .pyc in the place of every .py below `root`; tracebacks name files by their path in `root`."""
    for source in sorted(root.rglob("*.py")):
        py_compile.compile(
            str(source),
            cfile=str(source.with_suffix(".pyc")),
            dfile=str(source.relative_to(root)),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        source.unlink()
