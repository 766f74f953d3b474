"""The colours of the report, by what they stand for: in light, in dark, and as variables of the style sheet."""

LIGHT = {
    "paper": "#fdfdfb",
    "panel": "#f5f5f1",
    "ink": "#1c2226",
    "cell": "#1c2227",
    "muted": "#5c686f",
    "soft": "#a3aeb4",
    "faint": "#e0e4e4",
    "accent": "#0b6a94",
    "contrast": "#b5501b",
}
"""Blue for what is looked at, an orange for what was lost: different with every kind of colour blindness.

`cell` is for text on half-strong blue, which takes dark letters in light and in dark.
"""
DARK = {
    "paper": "#15191c",
    "panel": "#1d2225",
    "ink": "#e4e8ea",
    "cell": "#15191d",
    "muted": "#9ca8af",
    "soft": "#65727a",
    "faint": "#2c3337",
    "accent": "#62bde3",
    "contrast": "#f09a62",
}

PAPER, PANEL, INK, CELL, MUTED = (LIGHT[name] for name in ("paper", "panel", "ink", "cell", "muted"))
SOFT, FAINT, ACCENT, CONTRAST = LIGHT["soft"], LIGHT["faint"], LIGHT["accent"], LIGHT["contrast"]
"""What plots are drawn in. On the page each becomes the variable of its name."""

VARIABLES = {value: f"var(--{name})" for name, value in LIGHT.items()}


def declare_variables(colours: dict[str, str]) -> str:
    """The colours as declarations of CSS variables."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
