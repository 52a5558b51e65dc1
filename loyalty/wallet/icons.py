"""The pictures of a pass, drawn here: the brand's first letter, and its colour."""

from functools import lru_cache
from io import BytesIO

# Apple's names, and how many pixels each side has.
ICONS = {
    "icon.png": 29,
    "icon@2x.png": 58,
    "icon@3x.png": 87,
    "logo.png": 50,
    "logo@2x.png": 100,
    "logo@3x.png": 150,
}
# Drawn so many times as large and made smaller, so that edges are smooth.
FINER = 4


@lru_cache(maxsize=256)
def drawn(name: str, side: int, *, ground: str, ink: str) -> bytes:
    """A PNG of so many pixels a side: the first letter of the name in one colour (`#rrggbb`) on the other."""
    from PIL import Image, ImageDraw, ImageFont  # a web process starts without

    large = side * FINER
    image = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, large - 1, large - 1), radius=large // 5, fill=ground)
    letter = next((sign for sign in name.upper() if sign.isalnum()), "•")
    pen.text((large / 2, large / 2), letter, fill=ink, font=ImageFont.load_default(large * 0.62), anchor="mm")
    kept = BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(kept, "PNG")
    return kept.getvalue()


def ink_on(colour: str) -> str:
    """White or nearly black, whichever is read better on this colour."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.6 else "#14292e"


def as_rgb(colour: str) -> str:
    """The colour as Apple writes it."""
    return "rgb({}, {}, {})".format(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)))
