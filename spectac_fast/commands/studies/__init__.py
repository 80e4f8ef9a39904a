"""What is done with patients' studies: correct, report, explain, serve, profile, demo, info. See the folder above."""
