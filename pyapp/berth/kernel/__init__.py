"""Thin typed bindings to the kernel: one module per facility, no policy.

Nothing here decides, retries or logs.  Every failure is a `KernelError` that names the call and the object.
"""
