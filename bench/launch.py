"""Run one command and print, as JSON, its exit status, seconds, processor seconds and peak memory in KiB.

`measuring.measured` starts it as a process of its own: the kernel's figure for peak memory counts what a process was before it
became the command, and this one is small.
"""

import json
import os
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silence)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    cpu_s = usage.ru_utime + usage.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), seconds, cpu_s, usage.ru_maxrss]))
