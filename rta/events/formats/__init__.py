"""The formats of events: from Kafka's raw rows to typed columns and, where an event is bad, the reason. One module a format."""
