"""What the project needs around the package: not installed."""
