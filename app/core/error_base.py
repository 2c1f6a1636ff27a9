"""The root of the domain's errors, apart: kinds of them in other files begin here."""


class AppError(Exception):
    """Root of the tree. `detail` is shown to the caller, so it never holds input, keys or SQL."""

    detail = "The request could not be served."

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.detail
        super().__init__(self.detail)


class NotFound(AppError):
    detail = "There is no such resource."


class Conflict(AppError):
    detail = "The request conflicts with what is stored."
