"""Berth runs full Linux distributions in containers on a rooted Android phone."""

__version__ = "0.1.0"
