"""What every test starts from."""

import signal

# A test run under nohup, or in the background of a shell, starts with HUP ignored, which zoo rightly leaves alone.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
