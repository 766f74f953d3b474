"""The environment of every test."""

import os
import signal

# One thread per worker: as many workers as cores run side by side, and equal threads give equal bits. This comes before
# any import of numpy or torch, which read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test run under nohup, or in the background of a shell, starts with these ignored, which zoo rightly leaves alone.
for _ignored, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, _usual)
