"""Networks of projections: views that were never taken (`dudoss`), views with less noise (`cunet`), and the layers of
both (`layers`).
"""
