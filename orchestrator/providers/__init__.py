"""The vendors' endpoints behind one protocol; each SDK is imported on first use."""
