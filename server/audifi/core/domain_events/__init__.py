"""Events for readers outside this service, in the order in which they can be read without a gap."""
