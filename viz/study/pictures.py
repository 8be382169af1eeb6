"""The pictures of a study: encoded, and each kept once."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

__all__ = ["Pictures", "encode_picture"]

QUALITY = 90
"""Of WebP: patches are small, and are shown enlarged."""


def encode_picture(patch: Tensor) -> bytes:
    """Encode a patch, (channel, y, x) uint8 with one channel or three, as WebP."""
    pixels = patch.permute(1, 2, 0).contiguous().cpu().numpy()
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("RGB")
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=QUALITY, method=4)
    return file.getvalue()


@dataclass(slots=True)
class Pictures:
    """The pictures of a study as data URIs, in the order in which they are added."""

    uris: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, patch: Tensor) -> int:
        """Add a patch; returns its place, which equal patches share."""
        uri = f"data:image/webp;base64,{base64.b64encode(encode_picture(patch)).decode('ascii')}"
        place = self._places.setdefault(uri, len(self.uris))
        if place == len(self.uris):
            self.uris.append(uri)
        return place
