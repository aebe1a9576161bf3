"""Networks of published tutorials, as specifications for `network_from_spec`."""

from typing import Any

__all__ = ["PRESETS"]

PRESETS: dict[str, dict[str, Any]] = {
    # The U-Net of 32 x 32 windows of Lorenz96 (time as channels) in Yasuda's tutorial-diffusion-frameworks; 921,184
    # parameters. `c_noise` is the integer step. Only here, the last layer starts at zero.
    "lorenz96_unet": dict(
        name="unet1d",
        channels=32,
        widths=[32, 64, 128],
        block="film",
        embedding=dict(width=128, features=32, base=1000.0, scale=1.0, activation="gelu"),
    ),
    # The perceptron of the two-dimensional Swiss roll in Ueda's FI6_inverse_diffusion_model; 4,418 parameters.
    # There `c_noise` is sigma itself; its logarithm is kinder.
    "swiss_roll_mlp": dict(name="mlp", channels=2, width=32, layers=5, activation="mish"),
}
