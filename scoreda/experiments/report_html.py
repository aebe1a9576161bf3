"""HTML without a template language: elements that escape their text, figures as data, one style sheet inside."""

import base64
import io
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Html", "element", "figure", "page"]

DPI = 150
PIXELS = 117  # of the page for an inch of a figure, which makes its text as large as captions
VOID = ("img", "meta")  # elements without content and end tag


class Html(str):
    """Text that is markup already; everything else is escaped when it enters an element."""

    __slots__ = ()


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """Return `<tag attributes>children</tag>`.

    Args:
        tag: Name of the element.
        children: Text, numbers (escaped) or `Html` (as it is).
        attributes: Values are escaped; `class_` stands for `class`, `data_x` for `data-x`; None leaves one out.
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    inside = "".join(f' {names[k]}="{escape(str(v))}"' for k, v in attributes.items() if v is not None)
    start = Html(f"<{tag}{inside}>")
    return start if tag in VOID else Html(f"{start}{''.join(map(_markup, children))}</{tag}>")


def figure(fig: "Figure", caption: str) -> Html:
    """Return a figure with its caption, the picture as data inside the page."""
    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    data = base64.b64encode(picture.getvalue()).decode()
    return element(
        "figure",
        element("img", src=f"data:image/png;base64,{data}", alt=caption, width=round(PIXELS * fig.get_figwidth())),
        element("figcaption", caption),
    )


def page(title: str, *body: Html) -> Html:
    """Return a whole document that needs no other file."""
    style = files("scoreda.experiments").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style)),
    )
    return Html(f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n")


def _markup(child: Any) -> str:
    return child if isinstance(child, Html) else escape(str(child))
