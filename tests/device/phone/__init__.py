"""A virtual rooted phone: Android's file systems, labels, tools and stages of boot, and no libc of its own."""
