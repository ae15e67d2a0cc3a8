"""One module per file format. Each has `clips(path)`, the names of the clips in a file, and `read(path, request)`."""
