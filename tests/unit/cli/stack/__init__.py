"""Unit tests of the command and the embedded stack."""
