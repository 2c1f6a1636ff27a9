from typing import Annotated

from pydantic import BaseModel, Field


class WebhookSecret(BaseModel):
    secret: Annotated[str, Field(description="`whsec_` and the key in base64; verify `webhook-signature` with it.")]
