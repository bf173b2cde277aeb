"""Images and layers: what lies on disk and how it becomes a mounted root file system."""
