"""What the service tests have, and their invariants after every test."""

from tests.service.conftest import engine, invariants, logged, resident_engine

__all__ = ["engine", "invariants", "logged", "resident_engine"]
