"""The drilled faults, one file each: what is broken, which alert must fire, what the runbook tells the operator to do."""
