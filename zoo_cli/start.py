"""The first lines of `zoo`: from here on a signal ends it cleanly, also while its modules are imported."""

from zoo_cli import early_signals


def main() -> int:
    """Run the command line and return its exit code."""
    early_signals.leave_at_once()
    from zoo_cli.__main__ import main as run  # its imports take a tenth of a second

    return run()
