"""A machine with an arm64 processor, a kernel of Debian 13, and nothing but BusyBox and the module."""
