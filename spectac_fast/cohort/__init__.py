"""Patients on disk for training and evaluation: synthetic cohorts, pairs of one's own, and what a population looks
like. Imports `formats`, `data` and, to make patients, `phantom`; it knows no models. A new source of pairs offers
what `paired.PairedCohort` asks, and training and tables take it.
"""
