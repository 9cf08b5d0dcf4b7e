"""What people read on GitHub, as texts and check runs; pure."""
