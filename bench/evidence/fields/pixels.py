def pixel_rows(m,s): return []
