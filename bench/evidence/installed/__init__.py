"""The package as it is installed: wheels, and fresh environments of many versions."""
