"""The supervisor, the workers that it forks, and the control protocol between them and their callers."""
