"""Machines with an ARM processor, a kernel of Debian 13, and nothing but BusyBox and the module."""
