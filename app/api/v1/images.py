"""Pictures that stand in a request as data URLs."""

import binascii

from app.api.v1.fields import Fields
from app.core.items import Image

MAX_IMAGE_BYTES = 20 * 1024 * 1024
# The kinds that providers read, by their first bytes: what a picture is called is its sender's word.
KINDS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


def image_in(fields: Fields, name: str) -> Image:
    """Raises `InvalidRequest`."""
    url = fields.required_text(name)
    head, comma, data = url.partition(",")
    if not (comma and head.lower().startswith("data:")):
        fields.refuse(name, "must be a data URL: data:image/png;base64,...", "invalid_image_url")
    media_type, *marks = head[len("data:") :].lower().split(";")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in KINDS or marks[-1:] != ["base64"]:
        fields.refuse(name, f"must be in base64, and one of {', '.join(KINDS)}", "invalid_image_format")
    if len(data) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        fields.refuse(name, f"at most {MAX_IMAGE_BYTES} bytes", "image_too_large")
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        fields.refuse(name, "is not in base64", "invalid_base64_image")
    if not content.startswith(KINDS[media_type]):
        fields.refuse(name, "is of another kind than it says", "invalid_image")
    return Image(media_type, data)
