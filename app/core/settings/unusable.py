"""A setting that cannot work, as it turns out at start-up."""


class UnusableSetting(Exception):
    """The service does not start. The reason is for the operator: it holds no secret."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
