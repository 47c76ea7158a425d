"""`accelerate launch` that leaves SIGTERM and SIGUSR1 to the processes it started.

Difference from `python -m accelerate.commands.launch`: torchrun's agent answers SIGTERM by ending its processes within
30 s and dies of SIGUSR1, whatever a step takes; a scheduler sends both to every process of a job. Here the agent
ignores them: the processes stop at the end of their step, and whoever started them ends them when that takes too long.
"""

from __future__ import annotations

import os
import signal

from tasks.runtime.stop_request import STOP_SIGNALS

COMMAND = "tasks.runtime.patient_launch"

if __name__ == "__main__":
    from accelerate.commands.launch import main

    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"  # else the agent takes SIGTERM back
    main()
