"""The report of a study: one page for a physician, and its summary as a picture or a DICOM secondary capture."""
