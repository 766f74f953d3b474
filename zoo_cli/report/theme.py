"""The colours of the report, by what they stand for: in light, in dark, and as variables of the style sheet."""

LIGHT = {
    "paper": "#fdfdfb",
    "panel": "#f5f5f1",
    "ink": "#1c2226",
    "muted": "#5c686f",
    "soft": "#a3aeb4",
    "faint": "#e0e4e4",
    "accent": "#0b6a94",
    "contrast": "#b5501b",
}
"""Blue for what is looked at, an orange for what was lost: different with every kind of colour blindness."""
DARK = {
    "paper": "#15191c",
    "panel": "#1d2225",
    "ink": "#e4e8ea",
    "muted": "#9ca8af",
    "soft": "#65727a",
    "faint": "#2c3337",
    "accent": "#62bde3",
    "contrast": "#f09a62",
}

PAPER, PANEL, INK, MUTED = LIGHT["paper"], LIGHT["panel"], LIGHT["ink"], LIGHT["muted"]
SOFT, FAINT, ACCENT, CONTRAST = LIGHT["soft"], LIGHT["faint"], LIGHT["accent"], LIGHT["contrast"]
"""What plots are drawn in. On the page each becomes the variable of its name."""

VARIABLES = {value: f"var(--{name})" for name, value in LIGHT.items()}


def declare_variables(colours: dict[str, str]) -> str:
    """The colours as declarations of CSS variables."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
