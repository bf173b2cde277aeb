"""Builds the flashable zip: fetches what it holds, makes a Python that runs anywhere of it, and packs everything.

Standard library only, and not packed itself.  `build.py zip` runs it, first with the developer's Python (to fetch) and
then with Debian 13's, which makes every byte that goes into the zip: the machine it is built on leaves no trace in it.
"""
