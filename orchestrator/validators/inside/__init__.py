"""Programs that run inside the sandbox; each stands alone there and imports nothing of ours."""
