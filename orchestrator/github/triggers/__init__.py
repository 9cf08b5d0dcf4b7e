"""What set something off, read once from the delivery; pure."""
