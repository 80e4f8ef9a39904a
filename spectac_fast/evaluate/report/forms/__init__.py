"""The report in forms other than the page: its summary as a picture, its numbers as measurements for DICOM."""
