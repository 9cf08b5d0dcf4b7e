"""A run as it stands on GitHub: whose it is, what stands in its way, and how its stories say that it goes on."""
