"""What a first start prints: where the docs are, and the way to a first message."""

TEXT = """
  Docs      {base}/docs
  Stop      Ctrl-C
  Try it    three lines for a terminal: a tenant with its admin, a login, a message

  curl -s {base}/create-tenant -H 'Content-Type: application/json' \\
    -d '{{"name": "Initech", "admin": {{"email": "admin@initech.com", "password": "s3cur3P@ssw0rd"}}}}'
  TOKEN=$(curl -s {base}/login -H 'Content-Type: application/json' \\
    -d '{{"email": "admin@initech.com", "password": "s3cur3P@ssw0rd"}}' | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -s {base}/messages -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -d '{{"content": "What are the benefits of async Python?"}}'
"""


LOCAL = ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104 - names, nothing is bound here


def welcome(host: str, port: int) -> str:
    shown = "localhost" if host in LOCAL else host
    return TEXT.format(base=f"http://{shown}:{port}")
