"""Evidence that the correction can be trusted: calibration, foreign input, attributions, repeats, the long tests."""
