"""The container that `build.py run` starts, and the one most tests do."""
