"""How wrong a correction is expected to be, fitted and judged on patients whose CT-based correction is known."""
