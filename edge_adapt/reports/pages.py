"""Pages of HTML that need nothing else: no script, no font, no file, no network."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from edge_adapt.runtime import __version__
from edge_adapt.runtime.words import plural, size


def environment() -> Environment:
    """What fills in the templates of reports. What comes from outside is escaped, as everything that is no `Markup`."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"breakable": _breakable, "number": "{:,}".format, "plural": plural, "size": size}
    found.globals["version"] = __version__
    return found


def file_name(path: str) -> str:
    """The last part of a path, of any system."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def thumbnail(image: Image.Image, side: int) -> str:
    """An image, its larger side so many pixels at most, as the address of a PNG or JPEG that holds it, the smaller of the two."""
    shown = image.convert("RGB") if image.mode not in ("L", "RGB") else image.copy()
    shown.thumbnail((side, side))
    encoded = []
    for kind, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 85})):
        stream = io.BytesIO()
        shown.save(stream, kind, **options)
        encoded.append((len(stream.getvalue()), kind.lower(), stream.getvalue()))
    _, kind, content = min(encoded)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _breakable(name: str) -> Markup:
    """A name that may break where its parts do."""
    return Markup(re.sub("[/_]", r"\g<0><wbr>", str(escape(name))))
