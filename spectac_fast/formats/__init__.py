"""Files: DICOM, NIfTI, npy and images, each to and from one `Series` (series.py). Imports no other room; what a file
means for a study is for `data` to say. A new form of file is a module here, and its ending in `volumes.py`.
"""
