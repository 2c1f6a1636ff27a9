from tests.committed.conftest import listen

__all__ = ["listen"]
