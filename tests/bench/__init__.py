"""The benchmark: Berth beside its peers, on the same root file systems, in the same run.

`python3 build.py bench` runs it and writes docs/performance.md; `--quick` is for a look, with fewer rounds.
"""
