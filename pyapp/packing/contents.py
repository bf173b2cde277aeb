"""What goes into the zip: the packages by what they are for, and what is left out of them to keep it small."""

from typing import Final

SUITE: Final = "trixie"
PYTHON: Final = "python3.13"
PYTHON_TAG: Final = "cp313"

RUNTIME: Final = {
    "python3.13-minimal": "the interpreter",
    "libpython3.13-minimal": "its standard library",
    "libpython3.13-stdlib": "the rest of that",
    "libc6": "what every program here is linked with",
    "libgcc-s1": "ends threads, for libc6",
    "gcc-14-base": "the licence of libgcc-s1",
    "zlib1g": "compression, for Python",
    "libbz2-1.0": "compression, for Python",
    "liblzma5": "compression, for Python",
    "libzstd1": "compression, for OpenSSL",
    "libexpat1": "XML, for Python",
    "libffi8": "ctypes, which makes the system calls",
    "libssl3t64": "downloads over TLS",
    "e2fsprogs": "makes, checks and grows the ext4 images",
    "libext2fs2t64": "for e2fsprogs",
    "libcom-err2": "for e2fsprogs",
    "libblkid1": "for e2fsprogs",
    "libuuid1": "for e2fsprogs",
    "busybox-static": "the programs of the demo container",
    "base-files": "the texts of the common licences",
}
WORKSHOP: Final = {
    "patchelf": "gives programs another loader and library path",
    "libstdc++6": "for patchelf",
    "python3-pip": "fetches the wheels",
}
# What compiles for a processor that packages have no wheels for.  Tools for the machine that builds:
COMPILER: Final = {
    "cpp-14-arm-linux-gnueabihf": "the compiler",
    "binutils-arm-linux-gnueabihf": "assembler and linker",
    "libc6": "what they are linked with",
    "libgmp10": "for the compiler",
    "libisl23": "for the compiler",
    "libjansson4": "for the linker",
    "libmpc3": "for the compiler",
    "libmpfr6": "for the compiler",
    "libsframe1": "for assembler and linker",
    "libzstd1": "for compiler, assembler and linker",
    "zlib1g": "for compiler, assembler and linker",
}
# What is compiled against, of the processor that it is for:
HEADERS: Final = {
    "libpython3.13-dev": "Python's C interface",
    "libc6-dev": "the C library's",
    "linux-libc-dev": "the kernel's",
    "libc6": "the C library",
    "libgcc-14-dev": "the compiler's own headers, and what it leaves to functions",
}

# From the file system of the packages to the place in runtime/.
PROGRAMS: Final = {
    f"usr/bin/{PYTHON}": "bin/python3",
    "usr/sbin/e2fsck": "bin/e2fsck",
    "usr/sbin/mke2fs": "bin/mke2fs",
    "usr/sbin/resize2fs": "bin/resize2fs",
    "usr/sbin/dumpe2fs": "bin/dumpe2fs",
    "usr/bin/busybox": "bin/busybox",
}
# What glibc loads by name in pthread_exit(3), and aborts without; Python ends its daemon threads by that.
LOADED_BY_NAME: Final = "libgcc_s.so.1"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Parts of the standard library that neither Berth nor its wheels import; tests import all of those with what is left.
UNUSED_FOLDERS: Final = frozenset(
    _words("""
    __phello__ __pycache__ _pyrepl asyncio curses dbm ensurepip idlelib lib2to3 msilib pydoc_data sqlite3 test
    tests tkinter turtledemo unittest venv wsgiref xml xmlrpc zoneinfo
    """)
)
UNUSED_MODULES: Final = _words("""
    _aix_support _android_support _apple_support _ios_support _osx_support _pydatetime _pydecimal _pyio
    _sysconfigdata__* antigravity bdb cProfile cmd code codeop compileall configparser doctest filecmp fileinput ftplib
    imaplib mailbox modulefinder optparse pdb pickletools plistlib poplib profile pstats pyclbr pydoc rlcompleter
    sitecustomize smtplib statistics symtable tabnanny this timeit trace turtle wave webbrowser zipapp
    _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _multibytecodec
    _asyncio _crypt _ctypes_test _curses* _dbm _elementtree _gdbm _interp* _lsprof _sqlite3 _test* _tkinter
    _uuid _xx* _zoneinfo readline xx*
    """)
ENCODINGS: Final = frozenset(
    _words("""
    __init__ aliases ascii base64_codec charmap cp437 hex_codec idna iso8859_1 latin_1 punycode raw_unicode_escape
    undefined unicode_escape utf_16 utf_16_be utf_16_le utf_32 utf_8 utf_8_sig
    """)
)
# Parts of the wheels: what compilers, type checkers and other systems need, and all of pyroute2 but its messages.
UNUSED_IN_WHEELS: Final = _words("""
    *.pyi *.typed *.c *.pyx *.h */tests/* */test/*
    psutil/_psaix.py psutil/_psbsd.py psutil/_psosx.py psutil/_pssunos.py psutil/_pswindows.py
    pyroute2/bsd/* pyroute2/decoder/* pyroute2/dhcp/* pyroute2/ethtool/* pyroute2/fixtures/* pyroute2/ipdb/*
    pyroute2/iproute/* pyroute2/ipset.py pyroute2/iwutil.py pyroute2/ndb/* pyroute2/netns/* pyroute2/nftables/*
    pyroute2/nslink/* pyroute2/plan9/* pyroute2/requests/* pyroute2/wirouting/* pyroute2/wiset.py
    werkzeug/_reloader.py werkzeug/debug/*
    """)
