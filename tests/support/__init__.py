"""What the tests share: waiting, the truth, databases, secured clusters, a bad network, schedules of faults."""
