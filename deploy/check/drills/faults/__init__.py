"""The faults that are drilled, each in a file: what is broken, which alert it must raise, what the runbook has the operator do."""
