"""Sources of images: each is one file with one value, a `Source`, and one entry in `known_sources`.

Plain NumPy: nothing here imports torch, and nothing outside this room knows a data set by its name. Libraries
that hold images are imported when they are read. Start reading at `source`.
"""
