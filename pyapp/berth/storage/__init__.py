"""Images: what their superblocks say, checking them, and mounting them as root file systems."""
