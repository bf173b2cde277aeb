"""A root file system with nothing of this machine's, into which the zip is flashed by a root manager's steps."""
