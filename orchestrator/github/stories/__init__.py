"""The stories that GitHub's line tells: each goes from what was asked to what stands on GitHub in the end."""
