"""Input and output of the archive: storage backends, the log, keys, deposits and reading."""
