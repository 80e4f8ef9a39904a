"""Does a correction do harm: what it makes of defects that are there, and of an operator's hand."""
