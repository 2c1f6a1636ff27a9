"""The one spelling under which an email is stored, looked up and counted."""

import unicodedata

import email_validator
from email_validator import EmailNotValidError, validate_email

# Companies' directories and developers' machines use them. Nothing is ever mailed from here.
for _domain in ("local", "test"):
    email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_domain)


class InvalidEmailError(ValueError):
    """Never quotes the input, as the library's messages do."""


def normalise_email(email: str) -> str:
    """The local part folded, so that case and width tell nobody apart; the domain in Unicode, as the DNS has it.

    A domain is one in either form, `xn--...` or Unicode, and IDNA 2008 keeps ß and ς: `faß.example` is not
    `fass.example`. The length must be bounded before. Raises `InvalidEmailError`.
    """
    try:
        address = validate_email(email.strip(), check_deliverability=False)
    except EmailNotValidError as error:
        reserved = "special-use" in str(error)
        raise InvalidEmailError("reserved domain" if reserved else "not an email address") from None
    local = _folded(address.local_part)
    if "@" in local:  # a wide one was folded
        raise InvalidEmailError("not an email address")
    return f"{local}@{address.domain}"


def login_name(email: str) -> str:
    """As `normalise_email`; what is no address, and so nobody's, keeps a spelling to be counted by."""
    try:
        return normalise_email(email)
    except InvalidEmailError:
        return _folded(email.strip())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
