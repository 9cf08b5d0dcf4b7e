"""The version, readable without loading anything."""

VERSION = "0.1.0"
