"""The report of a study: one page for a physician, and its summary as a picture or a DICOM secondary capture.
Imports `figures` and `regional`, and `correct` to find what a run has written. A new part of the page is gathered in
`gather`, computed in `analysis` and shown in `page`.
"""
