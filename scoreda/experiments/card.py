"""The model card: what a prior is of, how it was made, how good it got."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoreda.experiments.folder import write_text
from scoreda.experiments.yaml_source import dump

if TYPE_CHECKING:
    from scoreda.datasets import Normaliser

__all__ = ["write_card"]

SIZES = {"convnet1d": "It serves any domain length.", "mlp": "It serves samples of so many numbers."}

CARD = """# {name}

A diffusion prior of scoreda: a denoiser of {what} of {system}.
{size} States are normalised with mean {mean:.4f} and standard deviation {std:.4f}.

    from scoreda import load_prior
    prior = load_prior("path of this folder")

## Result

| steps | training loss | validation loss | training time |
| --- | --- | --- | --- |
| {step} | {loss:.4f} | {valid:.4f} | {minutes:.0f} min |

The loss is {loss_text} The
validation loss is that of the averaged weights, which are the ones kept, on trajectories that were not trained on.

## Limits

It knows the climate of the system above and nothing of another forcing, model or variable.

## Settings

`scoreda train` with this configuration gives the same weights, to the bit on the same kind of machine
with the same number of threads (one).

```yaml
{settings}```
"""


def write_card(path: Path, settings: Mapping[str, Any], result: Mapping[str, float], normaliser: "Normaliser") -> None:
    """Write the card of a trained prior; `result` is the last row of its metrics."""
    text = CARD.format(
        name=settings["name"],
        system=_system(settings),
        what=_what(settings),
        size=SIZES.get(settings["network"]["name"], "It serves any domain size."),
        loss_text=_loss(settings),
        minutes=result["seconds"] / 60,
        settings=dump(dict(settings)),
        **normaliser.to_dict(),
        **{key: result[key] for key in ("step", "loss", "valid")},
    )
    write_text(path, text)


def _what(settings: Mapping[str, Any]) -> str:
    return f"windows of {settings['window']['frames']} states" if "window" in settings else "states"


def _loss(settings: Mapping[str, Any]) -> str:
    """Return what the numbers of the loss mean."""
    error = "absolute" if settings["train"]["norm"] == "l1" else "squared"
    if settings["denoiser"]["name"] != "karras":
        return f"the {error} error of the network's output, `{settings['denoiser']['name']}`."
    if error == "absolute":
        return "the absolute denoising error weighted so that all noise levels count alike."
    return "the denoising error weighted so that all noise levels count alike; a network that knows nothing has 1."


def _system(settings: Mapping[str, Any]) -> str:
    if "data" in settings:
        return f"`{settings['data']['variable']}` in `{Path(settings['data']['file']).name}`"
    model = dict(settings["system"]["model"])
    return f"{model.pop('name')} ({', '.join(f'{key} {value}' for key, value in model.items())})"
