"""Runs the tests: all, or those whose name contains one of the arguments.
Behind a test that fails stands what the processes have written meanwhile."""

import re
import signal
import sys
import time
import unittest

import harness

TAIL = 40
NOISE = re.compile(r'" 200 OK$|_queues.redis - Published|HTTP Request: ')


class Result(unittest.TextTestResult):
    sizes = {}

    def startTest(self, test):
        self.began = time.monotonic()
        self.sizes = {process: len(process.log())
                      for process in harness.scratch.logs}
        super().startTest(test)

    def stopTest(self, test):
        self.stream.writeln(f"    {time.monotonic() - self.began:.1f} s")
        super().stopTest(test)

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(self.failures[-1][1])

    def tell(self, text):
        self.stream.writeln(text)
        for process in harness.scratch.logs:
            new = process.log()[self.sizes.get(process, 0):].split("\n")
            lines = [line for line in new if line and not NOISE.search(line)]
            if lines:
                self.stream.writeln(f"--- {process.name}")
                self.stream.writeln("\n".join(lines[-TAIL:]))


def cases(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


def main():
    # Leave by the same way as after an interrupt, past all clean-ups.
    def leave(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)

    suite = unittest.defaultTestLoader.discover(harness.HERE)
    if sys.argv[1:]:
        suite = unittest.TestSuite(
            test for test in cases(suite)
            if any(part in test.id() for part in sys.argv[1:]))

    result = unittest.TextTestRunner(
        verbosity=2, resultclass=Result).run(suite)
    sys.exit(not result.wasSuccessful() or not result.testsRun)


main()
