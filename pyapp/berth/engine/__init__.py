"""Carries plans out and takes them back: starting, watching, entering, stopping, recovering containers."""
