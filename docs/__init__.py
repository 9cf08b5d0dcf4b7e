"""What people read, and the program that writes its tables."""
